-- The one door into a final state. Lock order, everywhere: jobs by id, then flow_run rows from the
-- innermost outwards (by depth, then id), then the flows' own rows in queue, then concurrency keys by
-- (workspace, key); whoever holds a key takes further jobs only with skip locked. Rows that are named
-- by `id = any (…)` are locked in the order of the index, because bitmap scans are off (connection.py).
--
-- Rows are named by `id = any (…)`, never by a join alone: where statistics are from a time when the
-- queue was empty, a join is planned as a scan of everything (measured: 2.7 s for 500 of 2,000,000
-- jobs, with this shape 3 ms; tests/store/test_plans.py).

-- name: finish_jobs
-- Fenced by id and claim only: naming the node too makes the planner walk the index of running
-- rows. What does not match is stale and is reported, not written.
with outcome as (
  select * from unnest(
    %(ids)s::uuid[], %(claims)s::uuid[], %(statuses)s::text[], %(results)s::json[],
    %(durations_us)s::bigint[], %(ages_us)s::bigint[]
  ) as o (id, claim, status, result, duration_us, age_us)
), gone as (
  delete from mill.queue q
  where q.id = any (%(ids)s::uuid[])
    -- `is true` makes it one hash table instead of a join
    and ((q.id, q.claim) in (select o.id, o.claim from outcome o)) is true
  returning q.*
), ended as materialized (
  -- A full join is never a nested loop, whatever the sizes are taken for.
  select o.id as told, o.claim as told_claim, o.status, o.result, o.duration_us, o.age_us, g.*
  from outcome o
  full join gone g on g.id = o.id and g.claim = o.claim
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, started_at,
    completed_at, duration_us, args, result, created_by, worker, attempt, rescues, parent_job,
    cancelled_by, cancel_reason, is_flow, step, iteration)
  select id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for,
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => (duration_us + age_us) * 1e-6),
    coalesce(%(now)s::timestamptz, now()), duration_us, args,
    -- Who cancelled and why is in the row, and nowhere else.
    case when status = 'cancelled' then json_build_object('error', json_build_object(
      'name', 'Canceled',
      'message', 'Job canceled' || coalesce(': ' || cancel_reason, '') || coalesce(' by ' || cancelled_by, ''),
      'reason', cancel_reason, 'canceler', cancelled_by)) else result end,
    created_by, worker, attempt, rescues, parent_job,
    case when status = 'cancelled' then cancelled_by end,
    case when status = 'cancelled' then cancel_reason end, is_flow, step, iteration
  from ended
  where id is not null
)
select
  array(select e.told::text || ' ' || e.told_claim::text from ended e where e.id is null) as stale,
  array(select e.id::text from ended e where e.awaited) as awaited;

-- name: landed_jobs
-- After a lost COMMIT reply: which of these did we finish ourselves before the reply was lost?
select c.id::text
from unnest(%(ids)s::uuid[]) as i (id)
join mill.completed_job c on c.id = i.id
where c.worker = %(worker)s;

-- name: retry_jobs
-- running → queued, one attempt further. A job whose cancel was asked for is left to finish_jobs.
with outcome as (
  select * from unnest(
    %(ids)s::uuid[], %(claims)s::uuid[], %(errors)s::json[], %(durations_us)s::bigint[],
    %(ages_us)s::bigint[], %(delays_seconds)s::float8[]
  ) as o (id, claim, error, duration_us, age_us, delay_seconds)
), before as (
  -- The row as it is before the update: returning would show the worker already cleared.
  select q.id, q.claim, q.workspace, q.attempt, q.worker
  from mill.queue q
  where q.id = any (%(ids)s::uuid[])
    and ((q.id, q.claim) in (select o.id, o.claim from outcome o)) is true
    and q.cancel_requested_at is null
  order by q.id
  for update
), failed as materialized (
  select b.id, b.workspace, b.attempt, b.worker, o.error, o.duration_us, o.age_us, o.delay_seconds
  from outcome o
  full join before b on b.id = o.id and b.claim = o.claim
), back as (
  update mill.queue q
  set running = false, node = null, claim = null, worker = null, claimed_at = null,
      attempt = q.attempt + 1,
      scheduled_for = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => f.delay_seconds),
      -- Backoff frees the slot of a concurrency key; at limit 1 the job keeps its place.
      admitted = q.concurrency_key is null or q.concurrency_limit = 1
  from failed f
  where q.id = any (array(select b.id from before b)) and q.id = f.id
  returning q.id, q.admitted
), freed as (
  delete from mill.concurrency_slot s
  where s.job = any (array(select b.id from back b where not b.admitted))
    and not exists (
      select from mill.concurrency_key k where k.workspace = s.workspace and k.key = s.key and k.window_s > 0)
), leaving as (
  -- … with a window the attempt's place stays taken for a while; the next attempt needs no other.
  update mill.concurrency_slot s
  set frees_at = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => k.window_s)
  from mill.concurrency_key k
  where s.job = any (array(select b.id from back b where not b.admitted))
    and k.workspace = s.workspace and k.key = s.key and k.window_s > 0
), kept as (
  insert into mill.job_attempt (job, attempt, workspace, started_at, ended_at, worker, error)
  select f.id, f.attempt, f.workspace,
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => (f.duration_us + f.age_us) * 1e-6),
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => f.age_us * 1e-6),
    f.worker, f.error
  from failed f
  where f.id is not null
)
select id::text from back;

-- name: cancel_requested
-- Which of these were asked to be cancelled: a failed attempt of theirs is not retried.
select q.id::text, q.workspace, q.concurrency_key, q.parent_job::text from mill.queue q
where q.id = any (%(ids)s::uuid[]) and q.cancel_requested_at is not null;

-- name: lock_steps
-- In the order of their ids, and holding nothing else.
select q.id::text from mill.queue q where q.id = any (%(ids)s::uuid[]) order by q.id for update;

-- name: lock_job
-- A statement of its own: what the next one sees must be what this one has waited for.
select q.id::text from mill.queue q where q.workspace = %(workspace)s and q.id = %(id)s::uuid for update;

-- name: cancel_job
-- Not running: settled here and now. Running: a request in the row, and whoever holds it settles it.
-- A flow that has begun is ended by a worker, which also ends what is inside it: it is made to look.
with target as (
  select q.id, q.running, q.node, q.tag,
    q.is_flow and exists (select from mill.flow_run r where r.id = q.id) as is_under_way
  from mill.queue q
  where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  for update
), asked as (
  update mill.queue q
  set cancel_requested_at = coalesce(q.cancel_requested_at, %(now)s::timestamptz, now()),
      cancelled_by = coalesce(q.cancelled_by, %(cancelled_by)s),
      cancel_reason = coalesce(q.cancel_reason, %(reason)s),
      running = q.claim is not null,
      scheduled_for = case when q.claim is null
        then least(q.scheduled_for, coalesce(%(now)s::timestamptz, now())) else q.scheduled_for end
  where q.id = (select t.id from target t where t.is_under_way or (t.running and not %(force)s))
), gone as (
  delete from mill.queue q
  where q.id = (select t.id from target t where not t.is_under_way and (not t.running or %(force)s))
  returning q.*
), answers as (
  delete from mill.flow_resume f where f.run = any (array(select g.id from gone g))
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, completed_at,
    args, result, created_by, worker, attempt, rescues, parent_job, cancelled_by, cancel_reason, is_flow,
    step, iteration)
  select id, workspace, path, script, tag, priority, 'cancelled', submitted_at, scheduled_for,
    coalesce(%(now)s::timestamptz, now()), args, %(result)s::json, created_by, worker, attempt,
    rescues, parent_job, coalesce(cancelled_by, %(cancelled_by)s), coalesce(cancel_reason, %(reason)s),
    is_flow, step, iteration
  from gone
)
select
  case when exists (select from gone) then 'cancelled' else 'requested' end,
  (select t.node::text from target t),
  (select g.awaited from gone g),
  (select g.concurrency_key from gone g),
  (select g.parent_job::text from gone g),
  -- a flow under way: some worker has to end what is inside it
  (select '~' || t.tag from target t where t.is_under_way)
from target;

-- name: expire_jobs
-- Not started in time: cancelled, a bounded number at a time.
with late as (
  select q.id
  from mill.queue q
  where q.expires_at <= coalesce(%(now)s::timestamptz, now()) and not q.running
    and not exists (select from mill.flow_run r where r.id = q.id)
  order by q.expires_at
  limit %(limit)s
  for update skip locked
), gone as (
  delete from mill.queue q
  where q.id = any (array(select l.id from late l))
  returning q.*
), answers as (
  delete from mill.flow_resume f where f.run = any (array(select g.id from gone g))
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, completed_at,
    args, result, created_by, attempt, rescues, parent_job, cancelled_by, cancel_reason, is_flow, step,
    iteration)
  select id, workspace, path, script, tag, priority, 'cancelled', submitted_at, scheduled_for,
    coalesce(%(now)s::timestamptz, now()), args, %(result)s::json, created_by, attempt, rescues,
    parent_job, 'mill', 'expired', is_flow, step, iteration
  from gone
)
select g.id::text, g.workspace, g.awaited, g.concurrency_key, g.parent_job::text from gone g;

-- name: free_slots
-- The places of jobs that are no longer in the queue. A statement of its own: the one that ended a
-- job may have waited for whoever was just admitting it, and does not see that slot.
-- With a window the place stays taken for a while.
with over as (
  select s.workspace, s.key, s.job, case when %(ran)s then k.window_s end as window_s
  from mill.concurrency_slot s
  left join mill.concurrency_key k on k.workspace = s.workspace and k.key = s.key
  where s.job = any (%(ids)s::uuid[]) and s.frees_at is null
    and not exists (select from mill.queue q where q.id = s.job and q.id = any (%(ids)s::uuid[]))
), kept as (
  update mill.concurrency_slot s
  set frees_at = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => o.window_s)
  from over o
  where o.window_s > 0 and s.workspace = o.workspace and s.key = o.key and s.job = o.job
)
delete from mill.concurrency_slot s
using over o
where coalesce(o.window_s, 0) = 0 and s.workspace = o.workspace and s.key = o.key and s.job = o.job;

-- name: lock_concurrency_keys
-- A statement of its own: the count that follows must see what the lock waited for. The caller has
-- sorted them, and the locks are taken in that order.
select k.workspace, k.key
from unnest(%(workspaces)s::text[], %(keys)s::text[]) as w (workspace, key)
cross join lateral (
  select c.workspace, c.key from mill.concurrency_key c
  where c.workspace = w.workspace and c.key = w.key
  for update
) k;

-- name: admit_jobs
-- Under the key's lock: as many due jobs as there are free places, by (priority, due time, id).
with free as (
  select k.workspace, k.key,
    k.max_running - (select count(*) from mill.concurrency_slot s
                     where s.workspace = k.workspace and s.key = k.key
                       and (s.frees_at is null or s.frees_at > coalesce(%(now)s::timestamptz, now()))) as places
  from unnest(%(workspaces)s::text[], %(keys)s::text[]) as w (workspace, key)
  cross join lateral (
    select c.workspace, c.key, c.max_running from mill.concurrency_key c
    where c.workspace = w.workspace and c.key = w.key
    limit 1
  ) k
), next as (
  select n.id, f.workspace, f.key
  from free f
  cross join lateral (
    select q.id from mill.queue q
    where q.workspace = f.workspace and q.concurrency_key = f.key and not q.admitted
      and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())
      and not exists (
        select from mill.concurrency_slot s
        where s.workspace = f.workspace and s.key = f.key and s.job = q.id
          and s.frees_at > coalesce(%(now)s::timestamptz, now()))
    order by q.priority desc, q.scheduled_for, q.id
    limit greatest(f.places, 0)
    for update skip locked
  ) n
  union all
  -- … and who tries again within its own window has its place.
  select n.id, f.workspace, f.key
  from free f
  cross join lateral (
    select q.id
    from mill.concurrency_slot s
    join mill.queue q on q.id = s.job
    where s.workspace = f.workspace and s.key = f.key
      and s.frees_at > coalesce(%(now)s::timestamptz, now())
      and not q.admitted and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())
    for update of q skip locked
  ) n
), placed as (
  insert into mill.concurrency_slot (workspace, key, job)
  select workspace, key, id from next
  on conflict (workspace, key, job) do update set frees_at = null
)
update mill.queue q
set admitted = true
where q.id = any (array(select n.id from next n))
returning q.id::text, q.tag;

-- name: keys_to_admit
-- The sweep: keys with due jobs that wait.
select q.workspace, q.concurrency_key, max(q.concurrency_limit), coalesce(max(q.concurrency_window_s), 0)
from mill.queue q
where not q.admitted and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())
group by q.workspace, q.concurrency_key
limit %(limit)s;

-- name: restore_concurrency_key
-- Jobs wait under a key that somebody has removed: without its row they would wait for ever.
insert into mill.concurrency_key (workspace, key, max_running, window_s)
values (%(workspace)s, %(key)s, %(limit)s, %(window_s)s)
on conflict do nothing;
