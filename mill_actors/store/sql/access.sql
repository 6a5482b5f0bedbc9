-- Who speaks, and what he may do.

-- name: find_token
-- By its hash; one that has expired is none.
select t.email, t.workspace, t.label, t.scopes, t.prefix, a.is_superadmin, a.name, t.expires_at
from mill.token t
join mill.account a on a.email = t.email
where t.hash = %(hash)s and (t.expires_at is null or t.expires_at > now());

-- name: note_use
-- Once a minute is enough to see which tokens are not used any more.
update mill.token t set last_used_at = now()
where t.hash = %(hash)s and t.last_used_at < now() - interval '1 minute';

-- name: put_token
insert into mill.token (hash, prefix, email, workspace, label, scopes, expires_at)
values (%(hash)s, %(prefix)s, %(email)s, %(workspace)s, %(label)s, %(scopes)s, %(expires_at)s);

-- name: list_tokens
select t.prefix, t.label, t.workspace, t.scopes, t.expires_at, t.created_at, t.last_used_at
from mill.token t
where t.email = %(email)s
  and (%(workspace)s::text is null or t.workspace = %(workspace)s)
  and (%(sessions)s or t.label is distinct from 'session')
order by t.created_at desc
limit %(limit)s offset %(offset)s;

-- name: delete_token
delete from mill.token t
where t.email = %(email)s and t.prefix = %(prefix)s
  and (%(workspace)s::text is null or t.workspace = %(workspace)s)
returning t.prefix;

-- name: member_by_email
select m.username, m.email, m.role, m.disabled, m.created_at, a.is_superadmin, a.name,
  array(select g.name from mill.user_group g
        where g.workspace = m.workspace and m.username = any (g.members || g.admins) order by g.name)
from mill.member m
join mill.account a on a.email = m.email
where m.workspace = %(workspace)s and m.email = %(email)s;

-- name: member_by_username
select m.username, m.email, m.role, m.disabled, m.created_at, a.is_superadmin, a.name,
  array(select g.name from mill.user_group g
        where g.workspace = m.workspace and m.username = any (g.members || g.admins) order by g.name)
from mill.member m
join mill.account a on a.email = m.email
where m.workspace = %(workspace)s and m.username = %(username)s;

-- name: list_members
select m.username, m.email, m.role, m.disabled, m.created_at, a.is_superadmin, a.name,
  array(select g.name from mill.user_group g
        where g.workspace = m.workspace and m.username = any (g.members || g.admins) order by g.name)
from mill.member m
join mill.account a on a.email = m.email
where m.workspace = %(workspace)s
order by m.username;

-- name: folder_rights
-- What a member may do in each folder, as far as it says so.
select f.name, f.owners, f.extra_perms from mill.folder f where f.workspace = %(workspace)s;

-- name: account_by_email
select a.email, a.name, a.is_superadmin, a.created_at from mill.account a where a.email = %(email)s;

-- name: open_job_owner
-- Whose WM_TOKEN is worth something: one of a job that runs. A step of a flow that is held whole has no row
-- until it is over, so what has never been seen is not over.
select
  exists (select from mill.queue q where q.id = %(id)s::uuid and q.running) as runs,
  exists (select from mill.completed_job c where c.id = %(id)s::uuid) as is_over;

-- name: workspace_key
select w.token_key from mill.workspace w where w.id = %(workspace)s;

-- name: put_audit
insert into mill.audit (workspace, username, operation, action, resource, parameters)
values (%(workspace)s, %(username)s, %(operation)s, %(action)s, %(resource)s, %(parameters)s::json);
