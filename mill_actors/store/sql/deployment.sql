-- What paths have meant over time, and definitions as they were sent. `kind` is 'script' or 'flow'.

-- name: put_deployment
insert into mill.deployment (workspace, kind, path, hash, message, deployed_by)
values (%(workspace)s, %(kind)s, %(path)s, %(hash)s, %(message)s, %(deployed_by)s);

-- name: last_deployment
-- The version that a path means now or, if it is archived, meant last.
select d.hash from mill.deployment d
where d.workspace = %(workspace)s and d.kind = %(kind)s and d.path = %(path)s
order by d.id desc limit 1;

-- name: deployed_path
-- Whose version a hash is: that of the path that meant it last.
select d.path from mill.deployment d
where d.workspace = %(workspace)s and d.kind = %(kind)s and d.hash = %(hash)s
order by d.id desc limit 1;

-- name: deployments
-- Newest first; a version that came back is where it came back.
select h.hash, f.version, h.deployed_by, h.deployed_at, h.message
from (
  select distinct on (d.hash) d.id, d.hash, d.deployed_by, d.deployed_at, d.message
  from mill.deployment d
  where d.workspace = %(workspace)s and d.kind = %(kind)s and d.path = %(path)s
  order by d.hash, d.id desc
) h
left join mill.flow f on %(kind)s = 'flow' and f.workspace = %(workspace)s and f.hash = h.hash
order by h.id desc
limit %(limit)s offset %(offset)s;

-- name: move_deployments
-- A path that is called something else now keeps its history.
update mill.deployment d set path = %(to)s
where d.workspace = %(workspace)s and d.kind = %(kind)s and d.path = %(path)s;

-- name: forget_path
delete from mill.deployment d
where d.workspace = %(workspace)s and d.kind = %(kind)s and d.path = %(path)s
returning d.hash;

-- name: forget_version
delete from mill.deployment d
where d.workspace = %(workspace)s and d.kind = %(kind)s and d.hash = %(hash)s
returning d.path;

-- name: deployed_paths
select p.path from mill.script_path p
where p.workspace = %(workspace)s and %(kind)s = 'script'
  and (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(p.path, r.prefix)))
union all
select p.path from mill.flow_path p
where p.workspace = %(workspace)s and %(kind)s = 'flow'
  and (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(p.path, r.prefix)))
order by path;

-- name: script_definition
-- By path: what it means now or, archived, meant last. By hash: any version that a path has meant.
select d.path, s.hash, s.language, s.content, s.options, s.rest::text, d.deployed_by, d.deployed_at, d.message,
  p.hash is distinct from s.hash as archived,
  array(
    select e.hash from mill.deployment e
    where e.workspace = d.workspace and e.kind = 'script' and e.path = d.path and e.id < d.id
    order by e.id desc limit 100) as parents
from mill.deployment d
join mill.script s on s.workspace = d.workspace and s.hash = d.hash
left join mill.script_path p on p.workspace = d.workspace and p.path = d.path
where d.workspace = %(workspace)s and d.kind = 'script'
  and (%(path)s::text is null or d.path = %(path)s) and (%(hash)s::text is null or d.hash = %(hash)s)
order by d.id desc limit 1;

-- name: list_script_definitions
-- What paths mean now; or those that are archived, as they were. Only its metadata, not its code.
select v.path, s.hash, s.language, '' as content, s.options, s.rest::text, v.deployed_by, v.deployed_at,
  case when %(with_message)s then (
    select d.message from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'script' and d.path = v.path order by d.id desc limit 1) end,
  v.archived, '{}'::text[]
from (
  select p.path, p.hash, p.deployed_by, p.deployed_at, false as archived
  from mill.script_path p
  where p.workspace = %(workspace)s and not %(archived)s
  union all
  select a.path, a.hash, a.deployed_by, a.deployed_at, true
  from (
    select distinct on (d.path) d.path, d.hash, d.deployed_by, d.deployed_at
    from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'script' and %(archived)s and not exists (
      select from mill.script_path p where p.workspace = d.workspace and p.path = d.path)
    order by d.path, d.id desc
  ) a
) v
join mill.script s on s.workspace = %(workspace)s and s.hash = v.hash
where (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(v.path, r.prefix)))
  and (%(path_start)s::text is null or starts_with(v.path, %(path_start)s))
  and (%(path)s::text is null or v.path = %(path)s)
  and (%(created_by)s::text is null or v.deployed_by = %(created_by)s)
  and (%(languages)s::text[] is null or s.language = any (%(languages)s::text[]))
  and (%(kinds)s::text[] is null or s.kind = any (%(kinds)s::text[]))
  and (%(label)s::text is null or %(label)s = any (s.labels))
  and (%(dedicated)s::boolean is null or s.dedicated = %(dedicated)s)
  and (%(is_template)s::boolean is null or s.is_template = %(is_template)s)
  and (%(any_parent)s::text is null or %(any_parent)s <> v.hash and exists (
    select from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'script' and d.path = v.path and d.hash = %(any_parent)s))
  and (%(first_parent)s::text is null or %(first_parent)s = (
    select d.hash from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'script' and d.path = v.path
    order by d.id desc limit 1 offset 1))
  and (%(last_parent)s::text is null or %(last_parent)s <> v.hash and %(last_parent)s = (
    select d.hash from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'script' and d.path = v.path
    order by d.id limit 1))
order by case when %(descending)s then v.deployed_at end desc, case when not %(descending)s then v.deployed_at end,
  v.path
limit %(limit)s offset %(offset)s;

-- name: archive_script
-- The path means nothing any more; with a hash only if it means that.
delete from mill.script_path p
where p.workspace = %(workspace)s and p.path = %(path)s
  and (%(hash)s::text is null or p.hash = %(hash)s)
returning p.hash;

-- name: delete_scripts
-- Versions that no path has meant, as far as anybody remembers. Jobs that still wait for them fail.
delete from mill.script s
where s.workspace = %(workspace)s and s.hash = any (%(hashes)s::text[]) and not exists (
  select from mill.deployment d where d.workspace = s.workspace and d.kind = 'script' and d.hash = s.hash);

-- name: flow_definition
-- By path: what it means now or, archived, meant last. By number: any version that a path has meant.
select d.path, f.hash, f.version, f.summary, f.description, f.value::text, f.schema::text, f.rest::text,
  d.deployed_by, d.deployed_at, d.message,
  not exists (select from mill.flow_path p where p.workspace = d.workspace and p.path = d.path) as archived
from mill.deployment d
join mill.flow f on f.workspace = d.workspace and f.hash = d.hash
where d.workspace = %(workspace)s and d.kind = 'flow'
  and (%(path)s::text is null or d.path = %(path)s)
  and (%(version)s::bigint is null or f.version = %(version)s)
order by d.id desc limit 1;

-- name: list_flow_definitions
-- What paths mean now; or those that are archived, as they were. Only its metadata, not its steps.
select v.path, f.hash, f.version, f.summary, f.description, 'null' as value, null as schema, f.rest::text,
  v.deployed_by, v.deployed_at,
  case when %(with_message)s then (
    select d.message from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'flow' and d.path = v.path order by d.id desc limit 1) end,
  v.archived
from (
  select p.path, p.hash, p.deployed_by, p.deployed_at, false as archived
  from mill.flow_path p
  where p.workspace = %(workspace)s and not %(archived)s
  union all
  select a.path, a.hash, a.deployed_by, a.deployed_at, true
  from (
    select distinct on (d.path) d.path, d.hash, d.deployed_by, d.deployed_at
    from mill.deployment d
    where d.workspace = %(workspace)s and d.kind = 'flow' and %(archived)s and not exists (
      select from mill.flow_path p where p.workspace = d.workspace and p.path = d.path)
    order by d.path, d.id desc
  ) a
) v
join mill.flow f on f.workspace = %(workspace)s and f.hash = v.hash
where (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(v.path, r.prefix)))
  and (%(path_start)s::text is null or starts_with(v.path, %(path_start)s))
  and (%(path)s::text is null or v.path = %(path)s)
  and (%(created_by)s::text is null or v.deployed_by = %(created_by)s)
  and (%(label)s::text is null or %(label)s = any (f.labels))
  and (%(dedicated)s::boolean is null or f.dedicated = %(dedicated)s)
order by case when %(descending)s then v.deployed_at end desc, case when not %(descending)s then v.deployed_at end,
  v.path
limit %(limit)s offset %(offset)s;

-- name: archive_flow
-- The path means nothing any more. Versions stay: runs that are under way need theirs.
delete from mill.flow_path p
where p.workspace = %(workspace)s and p.path = %(path)s
returning p.hash;
