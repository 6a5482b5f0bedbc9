-- Variables and resources: what `$var:` and `$res:` mean. Flows read them by the statements of flow.sql.

-- name: put_variable
insert into mill.variable (workspace, path, value, description)
values (%(workspace)s, %(path)s, %(value)s, coalesce(%(description)s, ''))
on conflict (workspace, path) do update
  set value = excluded.value, description = coalesce(%(description)s, mill.variable.description);

-- name: get_variable
select v.path, v.value, v.description from mill.variable v
where v.workspace = %(workspace)s and v.path = %(path)s;

-- name: list_variables
select v.path, v.value, v.description from mill.variable v where v.workspace = %(workspace)s order by v.path;

-- name: delete_variable
delete from mill.variable v where v.workspace = %(workspace)s and v.path = %(path)s returning v.path;

-- name: put_resource
insert into mill.resource (workspace, path, value, resource_type, description)
values (%(workspace)s, %(path)s, %(value)s::json, coalesce(%(resource_type)s, 'any'),
  coalesce(%(description)s, ''))
on conflict (workspace, path) do update
  set value = excluded.value, resource_type = coalesce(%(resource_type)s, mill.resource.resource_type),
    description = coalesce(%(description)s, mill.resource.description);

-- name: get_resource
select r.path, r.value::text, r.resource_type, r.description from mill.resource r
where r.workspace = %(workspace)s and r.path = %(path)s;

-- name: list_resources
select r.path, r.value::text, r.resource_type, r.description from mill.resource r
where r.workspace = %(workspace)s order by r.path;

-- name: delete_resource
delete from mill.resource r where r.workspace = %(workspace)s and r.path = %(path)s returning r.path;
