-- Variables. Flows and jobs read them by the statements of flow.sql.

-- name: create_variable
-- No row: there is one.
insert into mill.variable (workspace, path, value, description, is_secret, extra_perms, rest, edited_by)
values (%(workspace)s, %(path)s, %(value)s, %(description)s, %(is_secret)s, %(extra_perms)s::json,
  %(rest)s::json, %(edited_by)s)
on conflict (workspace, path) do nothing
returning path;

-- name: lock_variable
select v.path, v.value, v.description, v.is_secret, v.extra_perms, v.rest, v.edited_by, v.edited_at
from mill.variable v
where v.workspace = %(workspace)s and v.path = %(path)s
for update;

-- name: update_variable
update mill.variable v
set path = %(path)s, value = %(value)s, description = %(description)s, is_secret = %(is_secret)s,
  extra_perms = %(extra_perms)s::json, rest = %(rest)s::json, edited_by = %(edited_by)s, edited_at = now()
where v.workspace = %(workspace)s and v.path = %(old_path)s;

-- name: get_variable
select v.path, v.value, v.description, v.is_secret, v.extra_perms, v.rest, v.edited_by, v.edited_at
from mill.variable v
where v.workspace = %(workspace)s and v.path = %(path)s;

-- name: list_variables
-- Secrets without their value, unless an export wants the ciphertext; what is searched for is no pattern.
select v.path, case when v.is_secret and not %(with_ciphertext)s then '' else v.value end, v.description,
  v.is_secret, v.extra_perms, v.rest, v.edited_by, v.edited_at
from mill.variable v
where v.workspace = %(workspace)s
  and (%(path)s::text is null or v.path = %(path)s)
  and (%(path_start)s::text is null or starts_with(v.path, %(path_start)s))
  and (%(description)s::text is null or strpos(lower(v.description), lower(%(description)s)) > 0)
  and (%(value)s::text is null or (not v.is_secret and strpos(lower(v.value), lower(%(value)s)) > 0))
  and (%(anywhere)s::text is null or strpos(lower(v.path), lower(%(anywhere)s)) > 0
    or strpos(lower(v.description), lower(%(anywhere)s)) > 0
    or (not v.is_secret and strpos(lower(v.value), lower(%(anywhere)s)) > 0))
  and (%(label)s::text is null or v.rest::jsonb -> 'labels' ? %(label)s)
  and (%(readable)s::text[] is null
    or exists (select from unnest(%(readable)s::text[]) r (prefix) where starts_with(v.path, r.prefix))
    or exists (select from json_object_keys(v.extra_perms) k (name) where k.name = any (%(names)s::text[])))
order by v.path
limit %(limit)s offset %(offset)s;

-- name: delete_variable
delete from mill.variable v where v.workspace = %(workspace)s and v.path = %(path)s returning v.path;

-- name: secret_key
select w.secret_key from mill.workspace w where w.id = %(workspace)s;
