-- The one door into a final state. Lock order, everywhere: jobs by id, then concurrency keys by
-- (workspace, key); whoever holds a key takes further jobs only with skip locked.

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
  using outcome o
  where q.id = o.id and q.claim = o.claim
  returning q.*, o.status, o.result, o.duration_us, o.age_us
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, started_at,
    completed_at, duration_us, args, result, created_by, worker, attempt, rescues, parent_job,
    cancelled_by, cancel_reason)
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
    case when status = 'cancelled' then cancel_reason end
  from gone
)
select
  array(select o.id::text from outcome o where not exists (select from gone g where g.id = o.id)) as stale,
  array(select g.id::text from gone g where g.awaited) as awaited;

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
  select q.id, q.workspace, q.attempt, q.worker, o.error, o.duration_us, o.age_us, o.delay_seconds
  from mill.queue q
  join outcome o on q.id = o.id and q.claim = o.claim
  where q.cancel_requested_at is null
  order by q.id
  for update of q
), back as (
  update mill.queue q
  set running = false, node = null, claim = null, worker = null, claimed_at = null,
      attempt = q.attempt + 1,
      scheduled_for = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => b.delay_seconds),
      -- Backoff frees the slot of a concurrency key; at limit 1 the job keeps its place.
      admitted = q.concurrency_key is null or q.concurrency_limit = 1
  from before b
  where q.id = b.id
  returning q.id, q.admitted, q.concurrency_key
), freed as (
  delete from mill.concurrency_slot s using back b where s.job = b.id and not b.admitted
), kept as (
  insert into mill.job_attempt (job, attempt, workspace, started_at, ended_at, worker, error)
  select b.id, b.attempt, b.workspace,
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => (b.duration_us + b.age_us) * 1e-6),
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => b.age_us * 1e-6),
    b.worker, b.error
  from before b
)
select id::text from back;

-- name: cancel_requested
-- Which of these were asked to be cancelled: a failed attempt of theirs is not retried.
select q.id::text from mill.queue q
where q.id = any (%(ids)s::uuid[]) and q.cancel_requested_at is not null;

-- name: cancel_job
-- Not running: settled here and now. Running: a request in the row, and whoever holds it settles it.
with target as (
  select q.id, q.running, q.node
  from mill.queue q
  where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  for update
), asked as (
  update mill.queue q
  set cancel_requested_at = coalesce(q.cancel_requested_at, %(now)s::timestamptz, now()),
      cancelled_by = coalesce(q.cancelled_by, %(cancelled_by)s),
      cancel_reason = coalesce(q.cancel_reason, %(reason)s)
  from target t
  where q.id = t.id and t.running and not %(force)s
  returning q.id, q.node
), gone as (
  delete from mill.queue q
  using target t
  where q.id = t.id and (not t.running or %(force)s)
  returning q.*
), freed as (
  delete from mill.concurrency_slot s using gone g where s.job = g.id
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, completed_at,
    args, result, created_by, worker, attempt, rescues, parent_job, cancelled_by, cancel_reason)
  select id, workspace, path, script, tag, priority, 'cancelled', submitted_at, scheduled_for,
    coalesce(%(now)s::timestamptz, now()), args, %(result)s::json, created_by, worker, attempt,
    rescues, parent_job, coalesce(cancelled_by, %(cancelled_by)s), coalesce(cancel_reason, %(reason)s)
  from gone
)
select
  case when exists (select from gone) then 'cancelled' else 'requested' end,
  (select t.node::text from target t),
  (select g.awaited from gone g),
  (select g.concurrency_key from gone g)
from target;

-- name: expire_jobs
-- Not started in time: cancelled, a bounded number at a time.
with late as (
  select q.id
  from mill.queue q
  where q.expires_at <= coalesce(%(now)s::timestamptz, now()) and not q.running
  order by q.expires_at
  limit %(limit)s
  for update skip locked
), gone as (
  delete from mill.queue q
  using late l
  where q.id = l.id
  returning q.*
), freed as (
  delete from mill.concurrency_slot s using gone g where s.job = g.id
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, completed_at,
    args, result, created_by, attempt, rescues, parent_job, cancelled_by, cancel_reason)
  select id, workspace, path, script, tag, priority, 'cancelled', submitted_at, scheduled_for,
    coalesce(%(now)s::timestamptz, now()), args, %(result)s::json, created_by, attempt, rescues,
    parent_job, 'mill', 'expired'
  from gone
)
select g.id::text, g.workspace, g.awaited, g.concurrency_key from gone g;

-- name: free_slots
-- The places of jobs that are no longer in the queue.
delete from mill.concurrency_slot s
where s.job = any (%(ids)s::uuid[])
  and not exists (select from mill.queue q where q.id = s.job);

-- name: lock_concurrency_keys
-- A statement of its own: the count that follows must see what the lock waited for.
select k.workspace, k.key
from mill.concurrency_key k
join unnest(%(workspaces)s::text[], %(keys)s::text[]) as w (workspace, key)
  on k.workspace = w.workspace and k.key = w.key
order by k.workspace, k.key
for update of k;

-- name: admit_jobs
-- Under the key's lock: as many due jobs as there are free places, by (priority, due time, id).
with free as (
  select k.workspace, k.key,
    k.max_running - (select count(*) from mill.concurrency_slot s
                     where s.workspace = k.workspace and s.key = k.key) as places
  from mill.concurrency_key k
  join unnest(%(workspaces)s::text[], %(keys)s::text[]) as w (workspace, key)
    on k.workspace = w.workspace and k.key = w.key
), next as (
  select n.id, f.workspace, f.key
  from free f
  cross join lateral (
    select q.id from mill.queue q
    where q.workspace = f.workspace and q.concurrency_key = f.key and not q.admitted
      and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())
    order by q.priority desc, q.scheduled_for, q.id
    limit greatest(f.places, 0)
    for update skip locked
  ) n
), placed as (
  insert into mill.concurrency_slot (workspace, key, job)
  select workspace, key, id from next
  on conflict do nothing
)
update mill.queue q
set admitted = true
from next n
where q.id = n.id
returning q.id::text, q.tag;

-- name: keys_to_admit
-- The sweep: keys with due jobs that wait, and slots whose job is gone.
select distinct q.workspace, q.concurrency_key
from mill.queue q
where not q.admitted and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())
limit %(limit)s;
