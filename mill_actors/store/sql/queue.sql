-- The claim, and what a worker holds. Lock order is written at the top of settle.sql.

-- name: claim_jobs
-- Walk (tag, priority) tiers highest first by skipping through the index, lock lazily and only up
-- to the limit (from the earliest on: what was claimed before it and is not vacuumed yet is walked
-- once, not twice: 2,600 pages less after 200,000 claims), stop at the byte budget, and take a rescued job only alone: a job that kills nodes
-- must not take the innocent with it. By ctid: the rows are locked, so no second index descent. (A
-- row that somebody changed between our snapshot and our lock is not taken: who changes a claimable
-- row rings afterwards.)
with recursive served as (
  select tag, position
  from unnest(%(tags)s::text[]) with ordinality as s (tag, position)
), tier (tag, position, priority, earliest) as (
  select s.tag, s.position, n.priority, n.scheduled_for
  from served s
  cross join lateral (
    select q.priority, q.scheduled_for from mill.queue q
    where q.tag = s.tag and not q.running and q.admitted
    order by q.priority desc, q.scheduled_for
    limit 1
  ) n
  union all
  select t.tag, t.position, n.priority, n.scheduled_for
  from tier t
  cross join lateral (
    select q.priority, q.scheduled_for from mill.queue q
    where q.tag = t.tag and q.priority < t.priority and not q.running and q.admitted
    order by q.priority desc, q.scheduled_for
    limit 1
  ) n
), candidate as (
  select
    c.ctid,
    c.rescues,
    sum(c.args_bytes) over (rows unbounded preceding) as bytes_so_far,
    count(*) filter (where c.rescues > 0) over (rows unbounded preceding) as rescued_so_far,
    row_number() over () as place
  from (
    select * from tier
    where earliest <= coalesce(%(now)s::timestamptz, now())
    order by priority desc, position
  ) t
  cross join lateral (
    select q.ctid, q.args_bytes, q.rescues from mill.queue q
    where q.tag = t.tag and q.priority = t.priority and not q.running and q.admitted
      and q.scheduled_for >= t.earliest
      and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())
      and (q.expires_at is null or q.expires_at > coalesce(%(now)s::timestamptz, now()))
    order by q.scheduled_for, q.id
    limit %(limit)s
    for update skip locked
  ) c
  limit %(limit)s
)
update mill.queue q
set running = true, node = %(node)s::uuid, claim = %(claim)s::uuid, worker = %(worker)s,
    -- a flow under way has begun long ago
    claimed_at = case when q.begun then q.claimed_at else coalesce(%(now)s::timestamptz, now()) end
where q.ctid = any (array(
  select ctid from candidate
  where (bytes_so_far <= %(max_bytes)s and rescued_so_far = 0) or place = 1
))
returning q.id::text, q.workspace, q.path, q.script, q.tag, q.args::text, q.args_bytes, q.created_by,
  q.priority, q.attempt, q.rescues, q.timeout_seconds, q.retry, q.concurrency_key,
  extract(epoch from q.scheduled_for)::float8, q.is_flow, q.parent_job::text, q.root_job::text, q.step,
  q.iteration, q.depth, q.flow_path,
  -- of a flow: its start, whether it is under way, whether it is to be cancelled, when it was claimed
  case when q.is_flow then json_build_array(q.start, q.begun, q.cancel_requested_at is not null,
    extract(epoch from q.claimed_at)) end;

-- name: claim_woken_flows
-- Flows under way whose time has come, or that somebody woke: to look at them needs no room in a Runner,
-- so they do not wait for any.
with woken as (
  select q.ctid
  from unnest(%(tags)s::text[]) as t (tag)
  cross join lateral (
    select w.ctid from mill.queue w
    where w.tag = t.tag and not w.running and w.begun
      and w.scheduled_for <= coalesce(%(now)s::timestamptz, now())
    order by w.scheduled_for
    limit %(limit)s
    for update skip locked
  ) q
  limit %(limit)s
)
update mill.queue q
set running = true, node = %(node)s::uuid, claim = %(claim)s::uuid, worker = %(worker)s
where q.ctid = any (array(select w.ctid from woken w))
returning q.id::text, q.workspace, q.path, q.script, q.tag, q.args::text, q.args_bytes, q.created_by,
  q.priority, q.attempt, q.rescues, q.timeout_seconds, q.retry, q.concurrency_key,
  extract(epoch from q.scheduled_for)::float8, q.is_flow, q.parent_job::text, q.root_job::text, q.step,
  q.iteration, q.depth, q.flow_path,
  -- of a flow: its start, whether it is under way, whether it is to be cancelled, when it was claimed
  case when q.is_flow then json_build_array(q.start, q.begun, q.cancel_requested_at is not null,
    extract(epoch from q.claimed_at)) end;

-- name: claimed_jobs
-- After a lost COMMIT reply the claim is asked for what it holds, instead of guessed.
select q.id::text, q.workspace, q.path, q.script, q.tag, q.args::text, q.args_bytes, q.created_by,
  q.priority, q.attempt, q.rescues, q.timeout_seconds, q.retry, q.concurrency_key,
  extract(epoch from q.scheduled_for)::float8, q.is_flow, q.parent_job::text, q.root_job::text, q.step,
  q.iteration, q.depth, q.flow_path,
  -- of a flow: its start, whether it is under way, whether it is to be cancelled, when it was claimed
  case when q.is_flow then json_build_array(q.start, q.begun, q.cancel_requested_at is not null,
    extract(epoch from q.claimed_at)) end
from mill.queue q
where q.running and q.node = %(node)s::uuid and q.claim = %(claim)s::uuid;

-- name: next_due
-- Seconds until the next scheduled job of these tags falls due: one index probe a tier. It is asked
-- after a claim that found nothing more, so what fell due in between counts as due now. Not
-- clock_timestamp(): that is volatile, no index condition, and would walk all that is due.
with recursive served as (
  select tag from unnest(%(tags)s::text[]) as s (tag)
), tier (tag, priority) as (
  select s.tag, (
    select q.priority from mill.queue q
    where q.tag = s.tag and not q.running and q.admitted
    order by q.priority desc limit 1)
  from served s
  union all
  select t.tag, (
    select q.priority from mill.queue q
    where q.tag = t.tag and q.priority < t.priority and not q.running and q.admitted
    order by q.priority desc limit 1)
  from tier t
  where t.priority is not null
)
-- Null while nothing is scheduled, and greatest() would make that 0: a Puller that never rests.
select case when min(d.scheduled_for) is not null
  then greatest(extract(epoch from min(d.scheduled_for) - now())::float8, 0) end
from tier t
cross join lateral (
  select q.scheduled_for from mill.queue q
  where q.tag = t.tag and q.priority = t.priority and not q.running and q.admitted
    and q.scheduled_for > now() - interval '1 second'
  order by q.scheduled_for
  limit 1
) d
where t.priority is not null;

-- name: release_jobs
-- Give back what was not started: at once, and no attempt is counted. A job whose cancel was asked
-- for is left to settle_cancelled.
update mill.queue q
set running = false, node = null, claim = null, worker = null,
    claimed_at = case when q.is_flow then q.claimed_at end,
    begun = q.begun or (q.is_flow and exists (select from mill.flow_run r where r.id = q.id))
where q.id = any (%(ids)s::uuid[])
  and ((q.id, q.claim) in (
    select r.id, r.claim from unnest(%(ids)s::uuid[], %(claims)s::uuid[]) as r (id, claim))) is true
  -- a flow that is to be cancelled is ended by who claims it next, with all that is inside it
  and (q.cancel_requested_at is null or q.is_flow)
returning q.id::text, case when q.begun then '~' || q.tag else q.tag end;

-- name: held_jobs
-- What the database says a worker of this node holds, to be compared with what it does hold.
select q.id::text, q.claim::text
from mill.queue q
where q.running and q.node = %(node)s::uuid and q.worker = %(worker)s;
