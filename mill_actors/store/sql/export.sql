-- All that a workspace's paths mean now, with its code: what an archive holds.

-- name: export_scripts
select p.path, s.language, s.content, s.options, s.rest::text
from mill.script_path p
join mill.script s on s.workspace = p.workspace and s.hash = p.hash
where p.workspace = %(workspace)s
  and (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(p.path, r.prefix)))
order by p.path;

-- name: export_flows
select p.path, f.summary, f.description, f.value::text, f.schema::text, f.rest::text
from mill.flow_path p
join mill.flow f on f.workspace = p.workspace and f.hash = p.hash
where p.workspace = %(workspace)s
  and (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(p.path, r.prefix)))
order by p.path;
