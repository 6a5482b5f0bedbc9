-- Who did what. It is written where it is done, in the same transaction (access.sql).

-- name: list_audit
select a.id, a.at, a.username, a.operation, a.action, a.resource, a.parameters::text
from mill.audit a
where a.workspace = %(workspace)s
  and (%(before)s::timestamptz is null or a.at < %(before)s)
  and (%(after)s::timestamptz is null or a.at > %(after)s)
  and (%(username)s::text is null or a.username = %(username)s)
  and (%(operation)s::text is null or a.operation = %(operation)s)
  and (%(resource)s::text is null or a.resource = %(resource)s)
  and (%(actions)s::text[] is null or a.action = any (%(actions)s::text[]))
order by a.at desc, a.id desc
limit %(limit)s offset %(offset)s;

-- name: get_audit
select a.id, a.at, a.username, a.operation, a.action, a.resource, a.parameters::text
from mill.audit a
where a.workspace = %(workspace)s and a.id = %(id)s;

-- name: other_admins
-- Whether somebody else can let people in. Locked: two admins may be going at the same time.
select m.username from mill.member m
where m.workspace = %(workspace)s and m.role = 'admin' and not m.disabled
order by m.username
for update;
