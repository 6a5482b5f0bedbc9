-- Resources. Flows and jobs read them by the statements of flow.sql.

-- name: create_resource
-- No row: there is one. What holds a state may be made by two at once, and the later one is kept.
insert into mill.resource as r (workspace, path, value, resource_type, description, extra_perms, rest, edited_by)
values (%(workspace)s, %(path)s, %(value)s::json, %(resource_type)s, %(description)s, %(extra_perms)s::json,
  %(rest)s::json, %(edited_by)s)
on conflict (workspace, path) do update
  set value = excluded.value, edited_by = excluded.edited_by, edited_at = now()
  where r.resource_type = 'state' and excluded.resource_type = 'state'
returning path;

-- name: lock_resource
select r.path, r.value::text, r.resource_type, r.description, r.extra_perms, r.rest, r.edited_by, r.edited_at
from mill.resource r
where r.workspace = %(workspace)s and r.path = %(path)s
for update;

-- name: update_resource
update mill.resource r
set path = %(path)s, value = %(value)s::json, resource_type = %(resource_type)s, description = %(description)s,
  extra_perms = %(extra_perms)s::json, rest = %(rest)s::json, edited_by = %(edited_by)s, edited_at = now()
where r.workspace = %(workspace)s and r.path = %(old_path)s;

-- name: get_resource
select r.path, r.value::text, r.resource_type, r.description, r.extra_perms, r.rest, r.edited_by, r.edited_at
from mill.resource r
where r.workspace = %(workspace)s and r.path = %(path)s;

-- name: list_resources
-- What is searched for is no pattern.
select r.path, r.value::text, r.resource_type, r.description, r.extra_perms, r.rest, r.edited_by, r.edited_at
from mill.resource r
where r.workspace = %(workspace)s
  and (%(types)s::text[] is null or r.resource_type = any (%(types)s::text[]))
  and (%(other_types)s::text[] is null or r.resource_type <> all (%(other_types)s::text[]))
  and (%(path)s::text is null or r.path = %(path)s)
  and (%(path_start)s::text is null or starts_with(r.path, %(path_start)s))
  and (%(description)s::text is null or strpos(lower(r.description), lower(%(description)s)) > 0)
  and (%(value)s::text is null or strpos(lower(r.value::text), lower(%(value)s)) > 0)
  and (%(anywhere)s::text is null or strpos(lower(r.path), lower(%(anywhere)s)) > 0
    or strpos(lower(r.description), lower(%(anywhere)s)) > 0
    or strpos(lower(r.value::text), lower(%(anywhere)s)) > 0)
  and (%(label)s::text is null or r.rest::jsonb -> 'labels' ? %(label)s)
  and (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) p (prefix) where starts_with(r.path, p.prefix))
    or exists (select from json_object_keys(r.extra_perms) k (name) where k.name = any (%(names)s::text[])))
order by r.path
limit %(limit)s offset %(offset)s;

-- name: delete_resource
delete from mill.resource r where r.workspace = %(workspace)s and r.path = %(path)s returning r.path;
