-- What jobs say about themselves while they run.

-- name: put_user_state
insert into mill.flow_user_state as s (workspace, job, key, value)
values (%(workspace)s, %(job)s::uuid, %(key)s, %(value)s::json)
on conflict (job, key) do update set value = excluded.value, set_at = now();

-- name: user_state
select s.value::text from mill.flow_user_state s
where s.job = %(job)s::uuid and s.key = %(key)s and s.workspace = %(workspace)s;

-- name: put_progress
insert into mill.job_progress as p (workspace, job, percent)
values (%(workspace)s, %(job)s::uuid, %(percent)s)
on conflict (job) do update set percent = excluded.percent, set_at = now() where p.workspace = excluded.workspace;

-- name: progress
select p.percent from mill.job_progress p where p.job = %(job)s::uuid and p.workspace = %(workspace)s;

-- name: is_draining
select n.stopping
from mill.queue q
join mill.node n on n.id = q.node
where q.workspace = %(workspace)s and q.id = %(job)s::uuid;
