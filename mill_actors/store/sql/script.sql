-- name: put_script
-- Immutable: the same content is the same version, however often it is deployed.
insert into mill.script (workspace, hash, path, language, content, tag, dedicated, options, rest, kind,
  is_template, labels, created_by)
values (%(workspace)s, %(hash)s, %(path)s, %(language)s, %(content)s, %(tag)s, %(dedicated)s,
  %(options)s::json, %(rest)s::json, %(kind)s, %(is_template)s, %(labels)s, %(created_by)s)
on conflict (workspace, hash) do nothing;

-- name: point_path
-- What the path means from now on. No row: it meant that already; or something else than the hash it was to
-- mean until now ('': nothing).
insert into mill.script_path as p (workspace, path, hash, deployed_by)
values (%(workspace)s, %(path)s, %(hash)s, %(deployed_by)s)
on conflict (workspace, path) do update
  set hash = excluded.hash, deployed_by = excluded.deployed_by, deployed_at = now()
  where p.hash <> excluded.hash and (%(only_after)s::text is null or p.hash = %(only_after)s)
returning hash;

-- name: script_by_path
select s.workspace, s.hash, s.path, s.language, s.content, s.tag, s.dedicated, s.options
from mill.script_path p
join mill.script s on s.workspace = p.workspace and s.hash = p.hash
where p.workspace = %(workspace)s and p.path = %(path)s;

-- name: script_by_hash
select s.workspace, s.hash, s.path, s.language, s.content, s.tag, s.dedicated, s.options
from mill.script s
where s.workspace = %(workspace)s and s.hash = %(hash)s;

-- name: dedicated_scripts
-- The current version of every dedicated path: what a worker pins at boot.
select s.workspace, s.hash, s.path, s.language, s.content, s.tag, s.dedicated, s.options
from mill.script_path p
join mill.script s on s.workspace = p.workspace and s.hash = p.hash
where s.dedicated
order by s.workspace, s.path;

-- name: list_scripts
select p.path, p.hash, s.language, s.tag, s.dedicated, p.deployed_by, p.deployed_at
from mill.script_path p
join mill.script s on s.workspace = p.workspace and s.hash = p.hash
where p.workspace = %(workspace)s
order by p.path;

-- name: similar_paths
-- For a path that was not found: what the user may have meant.
select path from mill.script_path
where workspace = %(workspace)s
  and (path ilike '%%' || %(tail)s || '%%')
order by path limit 3;
