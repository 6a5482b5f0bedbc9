-- Accounts, members, tokens and workspaces, as they are made and changed. Who speaks is in access.sql.

-- name: list_accounts
select a.email, a.name, a.is_superadmin, a.password is not null, a.created_at
from mill.account a order by a.email limit %(limit)s offset %(offset)s;

-- name: create_account
-- An account that was made with a membership has no password yet, and is made whole here. No row: it is there.
insert into mill.account as a (email, name, is_superadmin, password)
values (%(email)s, %(name)s, %(is_superadmin)s, %(password)s)
on conflict (email) do update
  set name = coalesce(excluded.name, a.name), is_superadmin = excluded.is_superadmin, password = excluded.password
  where a.password is null and not a.is_superadmin
returning email;

-- name: ensure_account
insert into mill.account (email) values (%(email)s) on conflict (email) do nothing;

-- name: password_of
select a.password from mill.account a where a.email = %(email)s;

-- name: set_password
update mill.account a set password = %(password)s where a.email = %(email)s;

-- name: add_member
-- No row: the name or the account is there already.
insert into mill.member (workspace, username, email, role)
values (%(workspace)s, %(username)s, %(email)s, %(role)s)
on conflict do nothing
returning username;

-- name: update_member
update mill.member m set role = %(role)s, disabled = %(disabled)s
where m.workspace = %(workspace)s and m.username = %(username)s;

-- name: delete_member
-- From his groups, folders and single things too: whoever is called so next is somebody else.
with gone as (
  delete from mill.member m where m.workspace = %(workspace)s and m.username = %(username)s returning m.username
), left_groups as (
  update mill.user_group g
  set members = array_remove(g.members, %(username)s), admins = array_remove(g.admins, %(username)s)
  where g.workspace = %(workspace)s and %(username)s = any (g.members || g.admins)
), left_folders as (
  update mill.folder f
  set owners = array_remove(f.owners, 'u/' || %(username)s),
    extra_perms = (f.extra_perms::jsonb - ('u/' || %(username)s))::json
  where f.workspace = %(workspace)s
    and ('u/' || %(username)s = any (f.owners) or f.extra_perms::jsonb ? ('u/' || %(username)s))
), left_variables as (
  update mill.variable i set extra_perms = (i.extra_perms::jsonb - ('u/' || %(username)s))::json
  where i.workspace = %(workspace)s and i.extra_perms::jsonb ? ('u/' || %(username)s)
), left_resources as (
  update mill.resource i set extra_perms = (i.extra_perms::jsonb - ('u/' || %(username)s))::json
  where i.workspace = %(workspace)s and i.extra_perms::jsonb ? ('u/' || %(username)s)
), left_schedules as (
  update mill.schedule i set extra_perms = (i.extra_perms::jsonb - ('u/' || %(username)s))::json
  where i.workspace = %(workspace)s and i.extra_perms::jsonb ? ('u/' || %(username)s)
)
select username from gone;

-- name: end_session
-- Whoever logs out; tokens that were made for programs stay.
delete from mill.token t where t.hash = %(hash)s and t.label = 'session';

-- name: end_sessions
delete from mill.token t where t.email = %(email)s and t.label = 'session';

-- name: workspace_exists
select exists (select from mill.workspace w where w.id = %(id)s);

-- name: workspaces_of
-- Those somebody is a member of, with what he is called there; all of them for a superadmin.
select w.id, w.name, w.owner, m.username, coalesce(m.disabled, false), w.created_at
from mill.workspace w
left join mill.member m on m.workspace = w.id and m.email = %(email)s
where (%(everywhere)s or m.username is not null) and (%(workspace)s::text is null or w.id = %(workspace)s)
order by w.id;

-- name: create_workspace
insert into mill.workspace (id, name, owner) values (%(id)s, %(name)s, %(owner)s)
on conflict (id) do nothing
returning id;

-- name: specific_items
-- What is said to belong to this workspace alone.
select * from (
  select 'variable', v.path from mill.variable v
  where v.workspace = %(workspace)s and (v.rest ->> 'ws_specific') = 'true'
  union all
  select 'resource', r.path from mill.resource r
  where r.workspace = %(workspace)s and (r.rest ->> 'ws_specific') = 'true'
) s (kind, path)
order by s.kind, s.path;
