-- Schedules and resource types: documents, kept as they were sent.

-- name: list_schedules
select s.path, s.script_path, s.is_flow, s.enabled, s.document, s.extra_perms, s.edited_by, s.edited_at,
  coalesce(m.email, '')
from mill.schedule s
left join mill.member m on m.workspace = s.workspace and 'u/' || m.username = s.edited_by
where s.workspace = %(workspace)s and (%(path)s::text is null or s.path = %(path)s)
order by s.path;

-- name: lock_schedule
select s.path, s.script_path, s.is_flow, s.enabled, s.document, s.extra_perms, s.edited_by, s.edited_at, ''
from mill.schedule s
where s.workspace = %(workspace)s and s.path = %(path)s
for update;

-- name: create_schedule
insert into mill.schedule (workspace, path, script_path, is_flow, enabled, document, extra_perms, edited_by)
values (%(workspace)s, %(path)s, %(script_path)s, %(is_flow)s, %(enabled)s, %(document)s::json,
  %(extra_perms)s::json, %(edited_by)s)
on conflict (workspace, path) do nothing
returning path;

-- name: update_schedule
update mill.schedule s
set script_path = %(script_path)s, is_flow = %(is_flow)s, enabled = %(enabled)s, document = %(document)s::json,
  extra_perms = %(extra_perms)s::json, edited_by = %(edited_by)s, edited_at = now()
where s.workspace = %(workspace)s and s.path = %(path)s;

-- name: delete_schedule
delete from mill.schedule s where s.workspace = %(workspace)s and s.path = %(path)s returning s.path;

-- name: list_resource_types
select t.name, t.document, t.edited_by, t.edited_at
from mill.resource_type t
where t.workspace = %(workspace)s and (%(name)s::text is null or t.name = %(name)s)
order by t.name;

-- name: lock_resource_type
select t.name, t.document, t.edited_by, t.edited_at
from mill.resource_type t
where t.workspace = %(workspace)s and t.name = %(name)s
for update;

-- name: create_resource_type
insert into mill.resource_type (workspace, name, document, edited_by)
values (%(workspace)s, %(name)s, %(document)s::json, %(edited_by)s)
on conflict (workspace, name) do nothing
returning name;

-- name: update_resource_type
update mill.resource_type t set document = %(document)s::json, edited_by = %(edited_by)s, edited_at = now()
where t.workspace = %(workspace)s and t.name = %(name)s;

-- name: delete_resource_type
delete from mill.resource_type t where t.workspace = %(workspace)s and t.name = %(name)s returning t.name;
