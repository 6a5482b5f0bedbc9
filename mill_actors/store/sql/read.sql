-- name: get_job
-- Wherever it is: the queue first, then history. Two reads in one snapshot can't miss a job on its way.
select * from (
  select q.id::text, q.workspace, q.path, q.script, q.tag, q.priority,
    case when q.running or q.begun then 'running' else 'queued' end as status,
    q.submitted_at, q.scheduled_for, q.claimed_at as started_at, null::timestamptz as completed_at,
    null::bigint as duration_us, q.args::text, null::text as result, q.created_by, q.worker, q.attempt,
    q.rescues, q.parent_job::text, q.cancelled_by, q.cancel_reason,
    q.cancel_requested_at, q.expires_at, q.concurrency_key, q.admitted, q.is_flow, q.step, q.iteration
  from mill.queue q
  where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  union all
  select c.id::text, c.workspace, c.path, c.script, c.tag, c.priority, c.status,
    c.submitted_at, c.scheduled_for, c.started_at, c.completed_at,
    c.duration_us, c.args::text, c.result::text, c.created_by, c.worker, c.attempt,
    c.rescues, c.parent_job::text, c.cancelled_by, c.cancel_reason,
    null, null, null, true, c.is_flow, c.step, c.iteration
  from mill.completed_job c
  where c.workspace = %(workspace)s and c.id = %(id)s::uuid
) j limit 1;

-- name: job_results
-- Every awaited id that is finished, in one query.
select c.id::text, c.status, c.result::text
from mill.completed_job c
where c.id = any (%(ids)s::uuid[]);

-- name: early_results
-- Flows that go on, and have answered whoever waits (early_return). A step that ends in [] is a loop or
-- all branches: its result is an array.
select r.id::text, c.status, coalesce(c.result, m.result)::text
from mill.flow_run r
cross join lateral (
  select s.status, case when s.iteration is null or r.early not like '%%[]' then s.result end as result
  from mill.completed_job s
  where s.parent_job = r.id and s.step = rtrim(r.early, '[]') and s.completed_at >= r.started_at
  order by s.iteration nulls first
  limit 1
) c
left join lateral (
  select coalesce(json_agg(s.result order by s.iteration), '[]') as result
  from mill.completed_job s
  where r.early like '%%[]' and s.parent_job = r.id and s.step = rtrim(r.early, '[]')
    and s.completed_at >= r.started_at
) m on true
where r.id = any (%(ids)s::uuid[]) and r.early is not null;

-- name: any_early
select exists (select from mill.flow_run r where r.id = any (%(ids)s::uuid[]) and r.early is not null);

-- name: job_attempts
select a.attempt, a.started_at, a.ended_at, a.worker, a.error
from mill.job_attempt a
where a.workspace = %(workspace)s and a.job = %(id)s::uuid
order by a.attempt, a.ended_at;

-- name: plan_for_values
-- For statements with filters that may be missing, in their transaction: the others are planned once, for
-- any values (connection.py).
set local plan_cache_mode = force_custom_plan;

-- name: list_queued_jobs
select q.id::text, q.path, case when q.running or q.begun then 'running' else 'queued' end as status, q.tag,
  q.submitted_at, q.scheduled_for, q.claimed_at as started_at, null::timestamptz as completed_at,
  null::bigint as duration_us, q.created_by, q.worker, q.attempt
from mill.queue q
where q.workspace = %(workspace)s
  and (%(steps)s or q.parent_job is null)
  and (%(path)s::text is null or q.path = %(path)s)
  and (%(running)s::boolean is null or (q.running or q.begun) = %(running)s)
order by q.running desc, q.priority desc, q.scheduled_for, q.id
limit %(limit)s;

-- name: list_completed_jobs
select c.id::text, c.path, c.status, c.tag, c.submitted_at, c.scheduled_for, c.started_at,
  c.completed_at, c.duration_us, c.created_by, c.worker, c.attempt
from mill.completed_job c
where c.workspace = %(workspace)s
  and (%(steps)s or c.parent_job is null)
  and (%(path)s::text is null or c.path = %(path)s)
  and (%(status)s::text is null or c.status = %(status)s)
order by c.completed_at desc
limit %(limit)s;

-- name: count_jobs
select
  count(*) filter (where not running and not begun and scheduled_for <= now() and admitted) as waiting,
  count(*) filter (where not running and not begun and scheduled_for > now()) as scheduled,
  count(*) filter (where not running and not admitted) as limited,
  count(*) filter (where running or begun) as running
from mill.queue where workspace = %(workspace)s;

-- name: count_completed_jobs
select status, count(*) from mill.completed_job
where workspace = %(workspace)s and completed_at > now() - make_interval(secs => %(within_seconds)s)
group by status;
