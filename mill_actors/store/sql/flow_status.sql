-- What a flow's job tells of itself. All of it is read in one snapshot: see store/flow_status.py.

-- name: one_snapshot
set transaction isolation level repeatable read, read only;

-- name: flow_job
-- A job, wherever it is, and what it knows of itself while it runs. What can only be in its rows lies
-- between the last two columns. A body of a flow that one worker holds whole has no row in the queue.
select q.workspace, q.path, q.script, q.is_flow, q.step, q.iteration, null as ending,
  r.body, r.state::text, q.start, q.submitted_at as since, now() + interval '1 day' as until
from mill.queue q
left join mill.flow_run r on r.id = q.id
where q.workspace = %(workspace)s and q.id = %(id)s::uuid
union all
select r.workspace, '', r.flow, true, r.step, r.iteration, null, r.body, r.state::text, null,
  r.started_at, now() + interval '1 day'
from mill.flow_run r
where r.workspace = %(workspace)s and r.id = %(id)s::uuid
  and not exists (select from mill.queue q where q.id = r.id)
union all
select c.workspace, c.path, c.script, c.is_flow, c.step, c.iteration, c.status,
  null, null, null, c.submitted_at, c.completed_at + interval '1 hour'
from mill.completed_job c
where c.workspace = %(workspace)s and c.id = %(id)s::uuid
limit 1;

-- name: flow_children
-- Of each of these steps the first children in the order of their numbers, and those still open.
select s.step, c.id, c.iteration, c.status, c.is_flow, c.started_at, c.duration_us
from unnest(%(steps)s::text[]) as s (step)
cross join lateral (
  (select c.id::text, c.iteration, c.status, c.is_flow, c.started_at, c.duration_us
  from mill.completed_job c
  where c.parent_job = %(job)s::uuid and c.step = s.step
    and c.completed_at >= %(since)s::timestamptz and c.completed_at <= %(until)s::timestamptz
  order by c.iteration nulls first
  limit %(limit)s)
  union all
  (select q.id::text, q.iteration, case when q.running or q.begun then 'running' else 'queued' end, q.is_flow,
    q.claimed_at, null
  from mill.queue q
  where q.parent_job = %(job)s::uuid and q.step = s.step
  order by q.iteration nulls first
  limit %(limit)s)
  union all
  (select r.id::text, r.iteration, 'running', true, null, null
  from mill.flow_run r
  where r.root = (select o.root from mill.flow_run o where o.id = %(job)s::uuid) and r.depth > 0
    and r.parent = %(job)s::uuid and r.step = s.step
    and not exists (select from mill.queue q where q.id = r.id)
  order by r.iteration nulls first
  limit %(limit)s)
) c;

-- name: flow_children_counts
-- Of the steps with many children: how many have ended, how many of these badly, and the last of them.
select s.step, n.ended, n.bad, l.id, l.iteration, l.status, l.is_flow, l.started_at, l.duration_us
from unnest(%(steps)s::text[]) as s (step)
cross join lateral (
  select count(*) as ended, count(*) filter (where c.status in ('failure', 'cancelled')) as bad
  from mill.completed_job c
  where c.parent_job = %(job)s::uuid and c.step = s.step and c.iteration is not null
    and c.completed_at >= %(since)s::timestamptz and c.completed_at <= %(until)s::timestamptz
) n
cross join lateral (
  select c.id::text, c.iteration, c.status, c.is_flow, c.started_at, c.duration_us
  from mill.completed_job c
  where c.parent_job = %(job)s::uuid and c.step = s.step and c.iteration is not null
    and c.completed_at >= %(since)s::timestamptz and c.completed_at <= %(until)s::timestamptz
  order by c.iteration desc
  limit 1
) l;

-- name: failed_tries
-- Children of a step's failed tries are named after it, `id~0` first; `~` is no character of an id, and
-- the last one of ASCII but for one. Of a try with several children the last.
select s.step, t.step, t.id
from unnest(%(steps)s::text[]) as s (step)
cross join lateral (
  select distinct on (c.step) c.step, c.id::text
  from mill.completed_job c
  where c.parent_job = %(job)s::uuid and c.step >= s.step || '~' and c.step < s.step || chr(127)
    and c.completed_at >= %(since)s::timestamptz and c.completed_at <= %(until)s::timestamptz
  order by c.step, c.iteration desc
  limit %(limit)s
) t;

-- name: flow_approvers
select f.step, f.resume_id, f.approver
from mill.flow_resume f
where f.run = %(job)s::uuid and f.approved and f.step is not null
order by f.answered_at, f.resume_id;

-- name: flow_steps
-- What ended below some bodies since a moment, and which bodies are open below them, for whoever follows.
select * from (
  (select c.parent_job::text, c.id::text, c.path, c.step, c.iteration, c.status, c.is_flow, c.duration_us,
    c.submitted_at, c.completed_at
  from mill.completed_job c
  where c.parent_job = any (%(bodies)s::uuid[]) and c.completed_at >= %(since)s::timestamptz
    and not (c.step = any (%(quiet)s::text[]))
  order by c.completed_at, c.iteration, c.id
  limit %(limit)s)
  union all
  (select q.parent_job::text, q.id::text, q.path, q.step, q.iteration,
    case when q.running or q.begun then 'running' else 'queued' end, q.is_flow, null, q.submitted_at, null
  from mill.queue q
  where q.parent_job = any (%(bodies)s::uuid[])
  order by q.id
  limit %(limit)s)
  union all
  (select r.parent::text, r.id::text, '', r.step, r.iteration, 'running', true, null, r.started_at, null
  from mill.flow_run r
  where r.root in (select o.root from mill.flow_run o where o.id = any (%(bodies)s::uuid[])) and r.depth > 0
    and r.parent = any (%(bodies)s::uuid[])
    and not exists (select from mill.queue q where q.id = r.id)
  order by r.id
  limit %(limit)s)
) f;
