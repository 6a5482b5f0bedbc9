-- name: register_node
insert into mill.node (id, name, tags, workers)
values (%(id)s::uuid, %(name)s, %(tags)s::text[], %(workers)s::json);

-- name: serve_tags
update mill.node set tags = %(tags)s::text[] where id = %(id)s::uuid and tags <> %(tags)s::text[];

-- name: beat
-- One statement a beat: our own row, everybody's counters (the Rescuer's reading), the cancels we
-- may not have heard of, and whether admissions wait. No row of ours: we were declared dead.
with own as (
  update mill.node set beat = beat + 1, beat_at = now() where id = %(id)s::uuid returning beat
)
select
  (select beat from own),
  array(select n.id::text from mill.node n order by n.id),
  array(select n.beat from mill.node n order by n.id),
  array(select q.id::text from mill.queue q
        where q.running and q.node = %(id)s::uuid and q.cancel_requested_at is not null),
  exists (select from mill.queue q where not q.admitted
          and q.scheduled_for <= now() + interval '2 seconds'),
  exists (select from mill.queue q where q.expires_at <= now() and not q.running);

-- name: admissions_wait
select exists (select from mill.queue q where not q.admitted
               and q.scheduled_for <= now() + interval '2 seconds');

-- name: stop_node
update mill.node set stopping = true where id = %(id)s::uuid;

-- name: forget_node
-- A node that stopped in order holds nothing; one that still holds something is left to the Rescuer.
delete from mill.node n
where n.id = %(id)s::uuid
  and not exists (select from mill.queue q where q.running and q.node = n.id);

-- name: lock_dead_node
-- Dead if its counter still is what we saw a lease ago. Its own beat waits for this lock, and then
-- matches no row.
select n.id::text from mill.node n
where n.id = %(id)s::uuid and n.beat = %(beat)s
for update;

-- name: rescue_jobs
-- running → queued without counting an attempt; the slot of a concurrency key is kept. A flow always
-- goes back: whoever takes it finds what its steps have done, and ends it if it kills its workers.
with lost as (
  select q.id from mill.queue q
  where q.running and q.node = %(node)s::uuid
  limit %(limit)s
  for update skip locked
)
update mill.queue q
set running = false, node = null, claim = null, worker = null,
    claimed_at = case when q.is_flow then q.claimed_at end,
    begun = q.begun or (q.is_flow and exists (select from mill.flow_run r where r.id = q.id)),
    rescues = q.rescues + 1
where q.id = any (array(select l.id from lost l))
  and (q.is_flow or (q.rescues < %(max_rescues)s and q.cancel_requested_at is null))
returning q.id::text, case when q.begun then '~' || q.tag else q.tag end;

-- name: lose_jobs
-- Above the limit of rescues a job is settled as failure WorkerLost, so that handlers run; one whose
-- cancel was asked for is settled as cancelled.
with lost as (
  select q.id from mill.queue q
  where q.running and q.node = %(node)s::uuid and not q.is_flow
    and (q.rescues >= %(max_rescues)s or q.cancel_requested_at is not null)
  for update skip locked
), gone as (
  delete from mill.queue q where q.id = any (array(select l.id from lost l)) returning q.*
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, started_at,
    completed_at, args, result, created_by, worker, attempt, rescues, parent_job, cancelled_by,
    cancel_reason, is_flow, step, iteration)
  select id, workspace, path, script, tag, priority,
    case when cancel_requested_at is null then 'failure' else 'cancelled' end,
    submitted_at, scheduled_for, claimed_at, now(), args,
    case when cancel_requested_at is null then %(lost)s::json else %(cancelled)s::json end,
    created_by, worker, attempt, rescues + 1, parent_job, cancelled_by, cancel_reason, is_flow, step, iteration
  from gone
)
select g.id::text, g.workspace, g.awaited, g.concurrency_key,
  case when g.cancel_requested_at is null then 'failure' else 'cancelled' end, g.parent_job::text
from gone g;

-- name: holds_jobs
-- Whether a rescue has passed rows by that were locked.
select exists (select from mill.queue q where q.running and q.node = %(node)s::uuid);

-- name: remove_dead_node
-- A row of its jobs that stays locked is found by orphaned_nodes.
delete from mill.node where id = %(id)s::uuid;

-- name: orphaned_nodes
-- Jobs held by a node that has no row: a rescue that was interrupted between its batches.
select distinct q.node::text from mill.queue q
where q.running and q.node is not null and not exists (select from mill.node n where n.id = q.node);

-- name: tags_served
select coalesce(array_agg(distinct t.tag), '{}')
from mill.node n
cross join lateral unnest(n.tags) as t (tag)
where not n.stopping and n.beat_at > now() - make_interval(secs => %(within_seconds)s);

-- name: list_nodes
select n.id::text, n.name, n.beat, n.beat_at, n.started_at, n.stopping, n.tags, n.workers,
  extract(epoch from now() - n.beat_at)::float8
from mill.node n order by n.started_at;

-- name: token_keys
select id, token_key from mill.workspace;

-- name: health
-- Whether what waits is worked off: living nodes, what could run now, and since when the oldest could.
select
  (select count(*) from mill.node n
   where n.beat_at > now() - make_interval(secs => %(lease_seconds)s * 2) and not n.stopping),
  (select count(*) from (
     select from mill.queue q
     where not q.running and q.admitted and not q.begun and q.scheduled_for <= now() limit 10000) w),
  coalesce((
    select extract(epoch from now() - min(q.scheduled_for)) from (
      select q.scheduled_for from mill.queue q
      where not q.running and q.admitted and not q.begun and q.scheduled_for <= now() limit 10000) q), 0)::float8;
