-- What the API tells of one job. A job is in the queue first, then in history: two reads in one snapshot
-- can't miss one on its way. A body of a flow that one worker holds whole has a row in flow_run alone.

-- name: job_glance
-- As much as says who may read it, and how it ended.
select h.path, h.created_by, h.is_flow, h.running, h.status, h.result from (
  select q.path, q.created_by, q.is_flow, q.running or q.begun as running, null as status, null as result
  from mill.queue q
  where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  union all
  select o.path || '/' || r.step, o.created_by, true, true, null, null
  from mill.flow_run r
  join mill.queue o on o.id = r.root
  where r.workspace = %(workspace)s and r.id = %(id)s::uuid
    and not exists (select from mill.queue q where q.id = r.id)
  union all
  select c.path, c.created_by, c.is_flow, false, c.status, case when %(result)s then c.result::text end
  from mill.completed_job c
  where c.workspace = %(workspace)s and c.id = %(id)s::uuid
) h limit 1;

-- name: job_view
-- All of it, with what its version and its member say.
select j.*, m.email, s.language, case when %(code)s then s.content end as code
from (
  select q.id::text, q.path, q.script, q.tag, q.priority, q.submitted_at, q.scheduled_for, q.created_by, q.attempt,
    q.parent_job::text, q.is_flow, q.step, q.worker, q.cancelled_by, q.cancel_reason,
    q.cancel_requested_at is not null as cancels, q.running or q.begun as running,
    coalesce(r.started_at, q.claimed_at) as started_at, null::timestamptz as completed_at,
    null::bigint as duration_us, null as status, q.args::text, null::text as result
  from mill.queue q
  left join mill.flow_run r on r.id = q.id
  where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  union all
  select r.id::text, o.path || '/' || r.step, r.flow, o.tag, o.priority, r.started_at, r.started_at, o.created_by,
    1, r.parent::text, true, r.step, o.worker, null, null, false, true, r.started_at, null, null, null, '{}', null
  from mill.flow_run r
  join mill.queue o on o.id = r.root
  where r.workspace = %(workspace)s and r.id = %(id)s::uuid
    and not exists (select from mill.queue q where q.id = r.id)
  union all
  select c.id::text, c.path, c.script, c.tag, c.priority, c.submitted_at, c.scheduled_for, c.created_by, c.attempt,
    c.parent_job::text, c.is_flow, c.step, c.worker, c.cancelled_by, c.cancel_reason,
    c.status = 'cancelled', false, c.started_at, c.completed_at, c.duration_us, c.status, c.args::text, c.result::text
  from mill.completed_job c
  where c.workspace = %(workspace)s and c.id = %(id)s::uuid
  limit 1
) j
left join mill.member m on m.workspace = %(workspace)s
  and m.username = case when j.created_by like 'u/%%' then substr(j.created_by, 3) end
left join mill.script s on s.workspace = %(workspace)s and s.hash = j.script and not j.is_flow;

-- name: job_args
select * from (
  select q.args::text from mill.queue q where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  union all
  select c.args::text from mill.completed_job c where c.workspace = %(workspace)s and c.id = %(id)s::uuid
) a limit 1;

-- name: job_root
-- The topmost job above it that is there; its own id if there is none.
with recursive up as (
  select %(id)s::uuid as id, 0 as height
  union all
  select p.parent, up.height + 1
  from up
  cross join lateral (
    select q.parent_job as parent from mill.queue q
    where q.workspace = %(workspace)s and q.id = up.id and q.parent_job is not null
    union all
    select r.parent from mill.flow_run r
    where r.workspace = %(workspace)s and r.id = up.id and r.parent is not null
    union all
    select c.parent_job from mill.completed_job c
    where c.workspace = %(workspace)s and c.id = up.id and c.parent_job is not null
    limit 1
  ) p
  where up.height < 100
)
select up.id::text from up order by up.height desc limit 1;

-- name: jobs_started
-- When each of these began, as far as it did, with what says who may read it.
select j.id, j.path, j.created_by, j.started_at from (
  select q.id::text, q.path, q.created_by, coalesce(r.started_at, q.claimed_at) as started_at
  from mill.queue q
  left join mill.flow_run r on r.id = q.id
  where q.workspace = %(workspace)s and q.id = any (%(ids)s::uuid[])
  union all
  select c.id::text, c.path, c.created_by, c.started_at
  from mill.completed_job c
  where c.workspace = %(workspace)s and c.id = any (%(ids)s::uuid[])
) j;

-- name: results_of_step
-- What a step of these bodies gave: its own job's result, or those of its iterations in their order.
select c.iteration is null as is_own, c.result::text
from mill.completed_job c
where c.parent_job = any (%(bodies)s::uuid[]) and c.step = %(step)s and c.workspace = %(workspace)s
order by c.iteration nulls first, c.completed_at desc
limit %(limit)s;

-- name: bodies_below
select * from (
  select c.id::text from mill.completed_job c
  where c.parent_job = any (%(bodies)s::uuid[]) and c.is_flow and c.workspace = %(workspace)s
  union all
  select q.id::text from mill.queue q
  where q.parent_job = any (%(bodies)s::uuid[]) and q.is_flow and q.workspace = %(workspace)s
) b limit %(limit)s;

-- name: jobs_below
-- All jobs of a flow, itself first, in the order in which they ended; open ones last. What its code has started
-- is no step of it, and may be somebody's who shows it to others than the flow's.
with recursive below as (
  select %(id)s::uuid as id, null::text collate "C" as step, null::integer as iteration, '' collate "C" as path,
    null::timestamptz as at, 0 as depth
  union all
  select k.id, k.step, k.iteration, k.path, k.at, b.depth + 1
  from below b
  cross join lateral (
    select c.id, c.step, c.iteration, c.path, c.completed_at as at
    from mill.completed_job c
    where c.parent_job = b.id and c.workspace = %(workspace)s and c.step is not null
    union all
    select q.id, q.step, q.iteration, q.path, null
    from mill.queue q where q.parent_job = b.id and q.workspace = %(workspace)s and q.step is not null
  ) k
  where b.depth < 20
)
select w.id::text, w.step, w.iteration, w.path
from (select * from below limit %(limit)s) w
order by w.depth > 0, w.at nulls last, w.id;
