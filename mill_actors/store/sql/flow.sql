-- Flows: versions, and the runs whose states are read and written within a settle. Lock order is
-- written at the top of settle.sql: jobs, then flow_run rows (deepest first, by id), then the flows'
-- own rows in queue.

-- name: put_flow
insert into mill.flow (workspace, hash, path, summary, description, value, schema, rest, labels, tag, dedicated,
  options, created_by)
values (%(workspace)s, %(hash)s, %(path)s, %(summary)s, %(description)s, %(value)s::json, %(schema)s::json,
  %(rest)s::json, %(labels)s, %(tag)s, %(dedicated)s, %(options)s::json, %(created_by)s)
on conflict (workspace, hash) do nothing;

-- name: point_flow_path
-- As `point_path` does.
insert into mill.flow_path as p (workspace, path, hash, deployed_by)
values (%(workspace)s, %(path)s, %(hash)s, %(deployed_by)s)
on conflict (workspace, path) do update
  set hash = excluded.hash, deployed_by = excluded.deployed_by, deployed_at = now()
  where p.hash <> excluded.hash and (%(only_after)s::text is null or p.hash = %(only_after)s)
returning hash;

-- name: flow_by_path
select f.workspace, f.hash, f.path, f.value::text, f.tag, f.options
from mill.flow_path p
join mill.flow f on f.workspace = p.workspace and f.hash = p.hash
where p.workspace = %(workspace)s and p.path = %(path)s;

-- name: flow_by_hash
select f.workspace, f.hash, f.path, f.value::text, f.tag, f.options
from mill.flow f where f.workspace = %(workspace)s and f.hash = %(hash)s;

-- name: dedicated_flows
select f.workspace, f.hash, f.path, f.value::text, f.tag, f.options
from mill.flow_path p
join mill.flow f on f.workspace = p.workspace and f.hash = p.hash
where f.dedicated
order by f.workspace, f.path;

-- name: dedicated_flow_tags
-- Of every flow that is or was dedicated: runs of an earlier version may still wait under its tag.
select distinct f.workspace, f.path, f.tag from mill.flow f where f.dedicated;

-- name: list_flows
select p.path, p.hash, f.version, f.summary, f.tag, f.dedicated, p.deployed_by, p.deployed_at
from mill.flow_path p
join mill.flow f on f.workspace = p.workspace and f.hash = p.hash
where p.workspace = %(workspace)s
order by p.path;

-- name: flow_document
-- One version; without a hash the one that a path means.
select f.path, f.hash, f.version, f.summary, f.description, f.value::text, f.schema::text, f.rest::text, f.tag,
  f.dedicated, f.options, f.created_by, f.created_at
from mill.flow f
where f.workspace = %(workspace)s and f.hash = coalesce(%(hash)s,
  (select p.hash from mill.flow_path p where p.workspace = %(workspace)s and p.path = %(path)s));

-- name: lock_runs
-- All runs of one depth that something happened to, in the order of their ids. What the queue says of
-- each is read beside it; the queue's row is not locked.
select r.id::text, r.workspace, r.flow, r.body, r.root::text, r.chain::text[], r.depth, r.overlay::text,
  r.state::text, q.parent_job::text, q.step, q.iteration, q.created_by, q.priority, q.tag,
  extract(epoch from q.scheduled_for)::float8, q.claim::text, q.cancel_requested_at is not null,
  r.wake_at <= coalesce(%(now)s::timestamptz, now()), extract(epoch from r.started_at)::float8, r.deadline
from mill.flow_run r
join mill.queue q on q.id = r.id
where r.id = any (%(ids)s::uuid[])
order by r.id
for update of r;

-- name: hold_flows
-- Flows we have claimed and are about to move: are they still ours? And what they start with.
select q.id::text, q.args::text, q.start, q.cancel_requested_at is not null,
  extract(epoch from coalesce(%(now)s::timestamptz, now()))::float8,
  exists (select from mill.flow_run r where r.id = q.id)
from mill.queue q
where q.id = any (%(ids)s::uuid[])
  and ((q.id, q.claim) in (
    select h.id, h.claim from unnest(%(ids)s::uuid[], %(claims)s::uuid[]) as h (id, claim))) is true
order by q.id
for update;

-- name: put_runs
insert into mill.flow_run (id, root, workspace, flow, body, parent, step, iteration, chain, depth, overlay, state,
  started_at, deadline)
select id, root, workspace, flow, body, parent, step, iteration, chain::uuid[], depth, overlay, state,
  coalesce(to_timestamp(started_at), %(now)s::timestamptz, now()), deadline
from unnest(
  %(ids)s::uuid[], %(roots)s::uuid[], %(workspaces)s::text[], %(flows)s::text[], %(bodies)s::text[],
  %(parents)s::uuid[], %(steps)s::text[], %(iterations)s::integer[], %(chains)s::text[], %(depths)s::smallint[],
  %(overlays)s::json[], %(states)s::json[], %(started_at)s::float8[], %(deadlines)s::float8[]
) as r (id, root, workspace, flow, body, parent, step, iteration, chain, depth, overlay, state, started_at,
  deadline)
on conflict (id) do update set state = excluded.state;

-- name: settle_held
-- A round of flows that this worker holds whole, in one statement: the steps that are over, and what the
-- flows now are. Fenced by each flow's claim; what belongs to a flow that is not ours any more is not
-- written, and it is not among those that come back. The states are locked before the flows' rows, as
-- everywhere.
with states as materialized (
  select r.id from mill.flow_run r
  where r.id = any (%(run_ids)s::uuid[])
  order by r.id
  for update
), held as (
  select q.id from mill.queue q
  where q.id = any (%(flows)s::uuid[]) and (select count(*) from states) is not null
    and ((q.id, q.claim) in (
      select h.id, h.claim from unnest(%(flows)s::uuid[], %(claims)s::uuid[]) as h (id, claim))) is true
  order by q.id
  for update
), steps as (
  insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at,
    scheduled_for, started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues,
    parent_job, step, iteration)
  select s.id, s.workspace, s.path, s.script, s.tag, s.priority, s.status,
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => s.age_us * 1e-6),
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => s.age_us * 1e-6),
    coalesce(%(now)s::timestamptz, now()) - make_interval(secs => (s.duration_us + s.ended_us) * 1e-6),
    coalesce(%(now)s::timestamptz, now()), s.duration_us, s.args, s.result, s.created_by, %(worker)s, s.attempt,
    0, s.parent, s.step, s.iteration
  from unnest(
    %(ids)s::uuid[], %(roots)s::uuid[], %(workspaces)s::text[], %(paths)s::text[], %(scripts)s::text[],
    %(tags)s::text[], %(priorities)s::smallint[], %(statuses)s::text[], %(ages_us)s::bigint[],
    %(durations_us)s::bigint[], %(ended_us)s::bigint[], %(args)s::json[], %(results)s::json[],
    %(created_by)s::text[], %(attempts)s::smallint[], %(parents)s::uuid[], %(steps)s::text[],
    %(iterations)s::integer[]
  ) as s (id, root, workspace, path, script, tag, priority, status, age_us, duration_us, ended_us, args, result,
    created_by, attempt, parent, step, iteration)
  where s.root in (select h.id from held h)
), runs as (
  insert into mill.flow_run (id, root, workspace, flow, body, parent, step, iteration, chain, depth, overlay,
    state, started_at, deadline)
  select r.id, r.root, r.workspace, r.flow, r.body, r.parent, r.step, r.iteration, r.chain::uuid[], r.depth,
    r.overlay, r.state, to_timestamp(r.started_at), r.deadline
  from unnest(
    %(run_ids)s::uuid[], %(run_roots)s::uuid[], %(run_workspaces)s::text[], %(run_flows)s::text[],
    %(run_bodies)s::text[], %(run_parents)s::uuid[], %(run_steps)s::text[], %(run_iterations)s::integer[],
    %(run_chains)s::text[], %(run_depths)s::smallint[], %(run_overlays)s::json[], %(run_states)s::json[],
    %(run_started_at)s::float8[], %(run_deadlines)s::float8[]
  ) as r (id, root, workspace, flow, body, parent, step, iteration, chain, depth, overlay, state, started_at,
    deadline)
  where r.root in (select h.id from held h)
  on conflict (id) do update set state = excluded.state
)
select h.id::text from held h;

-- name: end_held_bodies
-- Bodies of flows that one worker holds have no row in queue; all is known here but what children made.
with ending as (
  select * from unnest(
    %(ids)s::uuid[], %(workspaces)s::text[], %(paths)s::text[], %(scripts)s::text[], %(tags)s::text[],
    %(priorities)s::smallint[], %(statuses)s::text[], %(args)s::json[], %(results)s::json[], %(of)s::text[],
    %(many)s::boolean[], %(since)s::float8[], %(began)s::float8[], %(created_by)s::text[], %(parents)s::uuid[],
    %(steps)s::text[], %(iterations)s::integer[]
  ) as e (id, workspace, path, script, tag, priority, status, args, result, of_step, many, since, began,
    created_by, parent, step, iteration)
), run as (
  delete from mill.flow_run r where r.id = any (%(ids)s::uuid[])
), items as (
  delete from mill.flow_item i where i.run = any (%(ids)s::uuid[])
), resumes as (
  delete from mill.flow_resume f where f.run = any (%(ids)s::uuid[])
)
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for,
  started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues, parent_job, is_flow,
  step, iteration)
select e.id, e.workspace, e.path, e.script, e.tag, e.priority, e.status, t.began, t.began, t.began,
  coalesce(%(now)s::timestamptz, now()), e.began * 1e6, e.args,
  case
    when e.of_step is null then e.result
    else coalesce((
      select c.result from mill.completed_job c
      where c.parent_job = e.id and c.step = e.of_step and (c.iteration is null or not e.many)
        and c.completed_at >= to_timestamp(e.since)
      limit 1
    ), (
      select json_agg(c.result order by c.iteration) from mill.completed_job c
      where e.many and c.parent_job = e.id and c.step = e.of_step and c.completed_at >= to_timestamp(e.since)
    ), case when e.many then '[]'::json end)
  end,
  e.created_by, %(worker)s, 1, 0, e.parent, true, e.step, e.iteration
from ending e
cross join lateral (
  select coalesce(%(now)s::timestamptz, now()) - make_interval(secs => e.began) as began
) t;

-- name: held_runs
-- All of a flow that a worker held whole and another one takes over.
select r.id::text, r.flow, r.body, r.parent::text, r.step, r.iteration, r.chain::text[], r.depth, r.overlay::text,
  r.state::text, extract(epoch from r.started_at)::float8,
  coalesce(r.wake_at <= coalesce(%(now)s::timestamptz, now()), false),
  greatest(extract(epoch from r.wake_at - coalesce(%(now)s::timestamptz, now())), 0)::float8, r.deadline
from mill.flow_run r
where r.id = %(root)s::uuid or (r.root = %(root)s::uuid and r.depth > 0)
order by r.depth, r.id
for update;

-- name: write_states
update mill.flow_run r
set state = s.state
from unnest(%(ids)s::uuid[], %(states)s::json[]) as s (id, state)
where r.id = any (%(ids)s::uuid[]) and r.id = s.id;

-- name: start_bodies
-- The jobs of bodies: running, and nobody holds them.
insert into mill.queue (id, workspace, path, script, tag, priority, args, args_bytes, created_by, running,
  claimed_at, is_flow, begun, parent_job, root_job, step, iteration, depth, scheduled_for)
select id, workspace, path, script, tag, priority, args, octet_length(args::text), created_by, true,
  coalesce(%(now)s::timestamptz, now()), true, true, parent, root, step, iteration, depth, to_timestamp(due)
from unnest(
  %(ids)s::uuid[], %(workspaces)s::text[], %(paths)s::text[], %(scripts)s::text[], %(tags)s::text[],
  %(priorities)s::smallint[], %(args)s::json[], %(created_by)s::text[], %(parents)s::uuid[], %(roots)s::uuid[],
  %(steps)s::text[], %(iterations)s::integer[], %(depths)s::smallint[], %(due)s::float8[]
) as s (id, workspace, path, script, tag, priority, args, created_by, parent, root, step, iteration, depth, due);

-- name: start_steps
-- Steps that are scripts. Those that this worker takes are inserted as its own already (`mine`), unless
-- something more urgent waits for the same tag. A step is due when its flow was: what has begun goes
-- before what has not.
with urgent as (
  select t.tag, (
    select max(q.priority) from mill.queue q
    where q.tag = t.tag and not q.running and q.admitted
      and q.scheduled_for <= coalesce(%(now)s::timestamptz, now())) as priority
  from (select distinct u.tag from unnest(%(tags)s::text[]) as u (tag)) t
)
insert into mill.queue (id, workspace, path, script, tag, priority, args, args_bytes, created_by, scheduled_for,
  attempt, timeout_seconds, retry, parent_job, root_job, step, iteration, depth, flow_path, concurrency_key,
  concurrency_limit, concurrency_window_s, admitted, running, claim, node, worker, claimed_at)
select s.id, s.workspace, s.path, s.script, s.tag, s.priority, s.args, octet_length(s.args::text), s.created_by,
  case when s.delay_seconds > 0
    then coalesce(%(now)s::timestamptz, now()) + make_interval(secs => s.delay_seconds)
    else to_timestamp(s.due) end,
  s.attempt, s.timeout_seconds, s.retry, s.parent, s.root, s.step, s.iteration, s.depth, s.flow_path, s.concurrency_key,
  s.concurrency_limit, s.concurrency_window_s, s.concurrency_key is null, m.mine,
  case when m.mine then %(claim)s::uuid end, case when m.mine then %(node)s::uuid end,
  case when m.mine then %(worker)s end, case when m.mine then coalesce(%(now)s::timestamptz, now()) end
from unnest(
  %(ids)s::uuid[], %(workspaces)s::text[], %(paths)s::text[], %(scripts)s::text[], %(tags)s::text[],
  %(priorities)s::smallint[], %(args)s::json[], %(created_by)s::text[], %(delays_seconds)s::float8[],
  %(due)s::float8[], %(attempts)s::smallint[], %(timeouts_seconds)s::real[], %(retries)s::json[],
  %(parents)s::uuid[], %(roots)s::uuid[], %(steps)s::text[], %(iterations)s::integer[], %(depths)s::smallint[],
  %(flow_paths)s::text[], %(concurrency_keys)s::text[], %(concurrency_limits)s::integer[], %(concurrency_windows_s)s::real[],
  %(mine)s::boolean[]
) as s (id, workspace, path, script, tag, priority, args, created_by, delay_seconds, due, attempt,
  timeout_seconds, retry, parent, root, step, iteration, depth, flow_path, concurrency_key, concurrency_limit,
  concurrency_window_s, mine)
join urgent u on u.tag = s.tag
cross join lateral (
  select s.mine and s.concurrency_key is null and coalesce(u.priority, -1) <= s.priority as mine
) m
returning id::text, running;

-- name: put_steps
-- Steps that are over: those of flows in hand, and those that ended without a process.
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for,
  started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues, parent_job, step,
  iteration)
select id, workspace, path, script, tag, priority, status,
  coalesce(%(now)s::timestamptz, now()) - make_interval(secs => age_us * 1e-6),
  coalesce(%(now)s::timestamptz, now()) - make_interval(secs => age_us * 1e-6),
  coalesce(%(now)s::timestamptz, now()) - make_interval(secs => (duration_us + ended_us) * 1e-6),
  coalesce(%(now)s::timestamptz, now()), duration_us, args, result, created_by, %(worker)s, attempt, 0, parent,
  step, iteration
from unnest(
  %(ids)s::uuid[], %(workspaces)s::text[], %(paths)s::text[], %(scripts)s::text[], %(tags)s::text[],
  %(priorities)s::smallint[], %(statuses)s::text[], %(ages_us)s::bigint[], %(durations_us)s::bigint[],
  %(ended_us)s::bigint[], %(args)s::json[], %(results)s::json[], %(created_by)s::text[],
  %(attempts)s::smallint[], %(parents)s::uuid[], %(steps)s::text[], %(iterations)s::integer[]
) as s (id, workspace, path, script, tag, priority, status, age_us, duration_us, ended_us, args, result,
  created_by, attempt, parent, step, iteration);

-- name: end_runs
-- A body is over: its job goes to history.
with ending as (
  select * from unnest(
    %(ids)s::uuid[], %(statuses)s::text[], %(results)s::json[]
  ) as e (id, status, result)
), run as (
  delete from mill.flow_run r where r.id = any (%(ids)s::uuid[])
), items as (
  delete from mill.flow_item i where i.run = any (%(ids)s::uuid[])
), resumes as (
  delete from mill.flow_resume f where f.run = any (%(ids)s::uuid[])
), gone as (
  delete from mill.queue q where q.id = any (%(ids)s::uuid[]) returning q.*
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, started_at, completed_at,
    duration_us, args, result, created_by, worker, attempt, rescues, parent_job, cancelled_by, cancel_reason,
    is_flow, step, iteration)
  select g.id, g.workspace, g.path, g.script, g.tag, g.priority, e.status, g.submitted_at, g.scheduled_for,
    coalesce(g.claimed_at, %(now)s::timestamptz, now()), coalesce(%(now)s::timestamptz, now()),
    extract(epoch from coalesce(%(now)s::timestamptz, now()) - coalesce(g.claimed_at, now())) * 1e6, g.args,
    case
      when e.status = 'cancelled' then json_build_object('error', json_build_object(
        'name', 'Canceled', 'message', 'Job canceled' || coalesce(': ' || g.cancel_reason, '')
          || coalesce(' by ' || g.cancelled_by, ''),
        'reason', g.cancel_reason, 'canceler', g.cancelled_by))
      else e.result
    end,
    g.created_by, %(worker)s, g.attempt, g.rescues, g.parent_job,
    case when e.status = 'cancelled' then g.cancelled_by end,
    case when e.status = 'cancelled' then g.cancel_reason end, true, g.step, g.iteration
  from ending e
  join gone g on g.id = e.id
)
select g.id::text, g.awaited, g.workspace, g.concurrency_key from gone g;

-- name: end_made_runs
-- The same for results that are made of children's: they are put together here,
-- and never held in a worker's memory.
with ending as (
  select * from unnest(
    %(ids)s::uuid[], %(statuses)s::text[], %(results)s::json[], %(of)s::text[], %(many)s::boolean[],
    %(since)s::float8[]
  ) as e (id, status, result, step, many, since)
), run as (
  delete from mill.flow_run r where r.id = any (%(ids)s::uuid[])
), items as (
  delete from mill.flow_item i where i.run = any (%(ids)s::uuid[])
), resumes as (
  delete from mill.flow_resume f where f.run = any (%(ids)s::uuid[])
), gone as (
  delete from mill.queue q where q.id = any (%(ids)s::uuid[]) returning q.*
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, started_at, completed_at,
    duration_us, args, result, created_by, worker, attempt, rescues, parent_job, cancelled_by, cancel_reason,
    is_flow, step, iteration)
  select g.id, g.workspace, g.path, g.script, g.tag, g.priority, e.status, g.submitted_at, g.scheduled_for,
    coalesce(g.claimed_at, %(now)s::timestamptz, now()), coalesce(%(now)s::timestamptz, now()),
    extract(epoch from coalesce(%(now)s::timestamptz, now()) - coalesce(g.claimed_at, now())) * 1e6, g.args,
    case
      when e.status = 'cancelled' then json_build_object('error', json_build_object(
        'name', 'Canceled', 'message', 'Job canceled' || coalesce(': ' || g.cancel_reason, '')
          || coalesce(' by ' || g.cancelled_by, ''),
        'reason', g.cancel_reason, 'canceler', g.cancelled_by))
      else coalesce((
        -- a row without an iteration is the step's own: of a script, or of a loop that did not run
        select c.result from mill.completed_job c
        where c.parent_job = e.id and c.step = e.step and (c.iteration is null or not e.many)
          and c.completed_at >= to_timestamp(e.since)
        limit 1
      ), (
        select json_agg(c.result order by c.iteration) from mill.completed_job c
        where e.many and c.parent_job = e.id and c.step = e.step and c.completed_at >= to_timestamp(e.since)
      ), case when e.many then '[]'::json end)
    end,
    g.created_by, %(worker)s, g.attempt, g.rescues, g.parent_job,
    case when e.status = 'cancelled' then g.cancelled_by end,
    case when e.status = 'cancelled' then g.cancel_reason end, true, g.step, g.iteration
  from ending e
  join gone g on g.id = e.id
)
select g.id::text, g.awaited, g.workspace, g.concurrency_key from gone g;

-- name: park_flows
-- A flow whose steps run elsewhere is nobody's; one that sleeps waits for its time, and one that
-- somebody woke meanwhile, or wants cancelled, is looked at again at once.
update mill.queue q
set claim = null, node = null, worker = null, expires_at = null, begun = true,
    running = p.wake_in_seconds is null and not r.woken and q.cancel_requested_at is null,
    scheduled_for = case
      when p.wake_in_seconds is not null and not r.woken and q.cancel_requested_at is null
      then coalesce(%(now)s::timestamptz, now()) + make_interval(secs => p.wake_in_seconds)
      else q.scheduled_for end
from unnest(%(ids)s::uuid[], %(wakes_in_seconds)s::float8[]) as p (id, wake_in_seconds)
join mill.flow_run r on r.id = p.id
where q.id = any (%(ids)s::uuid[]) and q.id = p.id
returning '~' || q.tag, not q.running, q.running;

-- name: park_held
-- The same for a flow that was held whole: an answer to any of its bodies wakes it.
update mill.queue q
set claim = null, node = null, worker = null, expires_at = null, begun = true, running = false,
    scheduled_for = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => case
      when q.cancel_requested_at is not null
        or exists (select from mill.flow_run r where (r.id = q.id or (r.root = q.id and r.depth > 0)) and r.woken)
      then 0 else p.wake_in_seconds end)
from unnest(%(ids)s::uuid[], %(wakes_in_seconds)s::float8[]) as p (id, wake_in_seconds)
where q.id = any (%(ids)s::uuid[]) and q.id = p.id
returning '~' || q.tag;

-- name: end_bodies_of
-- What is left of a flow that ends at once: its own state, and those of bodies without a row in queue.
with gone as (
  delete from mill.flow_run r
  where r.id = %(root)s::uuid or (r.root = %(root)s::uuid and r.depth > 0 and %(whole)s
    and not exists (select from mill.queue q where q.id = r.id))
  returning r.id
), items as (
  delete from mill.flow_item i where i.run = any (array(select g.id from gone g))
)
delete from mill.flow_resume f where f.run = any (array(select g.id from gone g));

-- name: set_wakes
-- Who asks for an approval that has been answered already is looked at again at once.
update mill.flow_run r
set wake_at = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => w.seconds),
  woken = exists (select from mill.flow_resume f where f.run = r.id and f.step is null)
from unnest(%(ids)s::uuid[], %(seconds)s::float8[]) as w (id, seconds)
where r.id = any (%(ids)s::uuid[]) and r.id = w.id;

-- name: wake_left
select r.id::text, greatest(extract(epoch from r.wake_at - coalesce(%(now)s::timestamptz, now())), 0)::float8
from mill.flow_run r
where r.id = any (%(ids)s::uuid[]) and r.wake_at is not null;

-- name: notice_runs
-- Whoever looks at these runs has seen what they were woken for.
update mill.flow_run r set woken = false where r.id = any (%(ids)s::uuid[]) and r.woken;

-- name: wake_flows
-- A child of theirs ended without a worker, or somebody answered: some worker has to look. One that is
-- held is looked at again by its holder (park_flows). Whether it is held is asked under the lock: the
-- first update may have waited for the very holder that just let go of it, and we do not see that.
with told as (
  update mill.flow_run r set woken = true where r.id = any (%(ids)s::uuid[]) returning r.id, r.root
), own as (
  select q.id, q.claim from mill.queue q
  where q.id = any (array(
    -- a body of a flow that somebody holds whole has no row of its own
    select case when exists (select from mill.queue o where o.id = t.id) then t.id else t.root end
    from told t))
  order by q.id
  for update
)
update mill.queue q
-- No claim already; but Postgres first checks what it would make of the row that our snapshot has.
set running = false, claim = null, node = null, worker = null,
    scheduled_for = least(q.scheduled_for, coalesce(%(now)s::timestamptz, now()))
where q.id = any (array(select w.id from own w where w.claim is null))
returning '~' || q.tag;

-- name: forget_tries
-- The children of a try that failed make place for those of the next. Bodies among them that have just
-- ended are still in queue: they take their new name with them.
with ending as (
  update mill.queue q
  set step = q.step || '~' || f.tries
  from unnest(%(runs)s::uuid[], %(steps)s::text[], %(tries)s::text[]) as f (run, step, tries)
  where q.parent_job = any (%(runs)s::uuid[]) and q.parent_job = f.run and q.step = f.step
)
update mill.completed_job c
set step = c.step || '~' || f.tries
from unnest(%(runs)s::uuid[], %(steps)s::text[], %(tries)s::text[], %(since)s::float8[])
  as f (run, step, tries, since)
where c.parent_job = any (%(runs)s::uuid[]) and c.parent_job = f.run and c.step = f.step
  and c.completed_at >= to_timestamp(f.since);

-- name: put_items
insert into mill.flow_item (run, step, chunk, items)
select run, step, chunk, items
from unnest(%(runs)s::uuid[], %(steps)s::text[], %(chunks)s::integer[], %(items)s::json[])
  as i (run, step, chunk, items)
on conflict (run, step, chunk) do update set items = excluded.items;

-- name: item_chunks
select w.run::text, w.step, w.chunk, i.items::text
from unnest(%(runs)s::uuid[], %(steps)s::text[], %(chunks)s::integer[]) as w (run, step, chunk)
cross join lateral (
  select i.items from mill.flow_item i
  where i.run = w.run and i.step = w.step and i.chunk = w.chunk
  limit 1
) i;

-- name: step_results
-- One statement for all that expressions name: a step's result, or its children's in their order. A row
-- without an iteration is the step's own: of a script, or of a loop that did not run.
select w.run::text, w.step, coalesce((
    select c.result from mill.completed_job c
    where c.parent_job = w.run and c.step = w.step and (c.iteration is null or not w.many)
      and c.completed_at >= to_timestamp(%(since)s)
    order by c.completed_at desc
    limit 1
  ), (
    select json_agg(c.result order by c.iteration) from mill.completed_job c
    where w.many and c.parent_job = w.run and c.step = w.step and c.completed_at >= to_timestamp(%(since)s)
  ), case when w.many then '[]'::json end)::text
from unnest(%(runs)s::uuid[], %(steps)s::text[], %(many)s::boolean[]) as w (run, step, many);

-- name: child_results
select w.run::text, w.step, w.iteration, c.result::text
from unnest(%(runs)s::uuid[], %(steps)s::text[], %(iterations)s::integer[]) as w (run, step, iteration)
cross join lateral (
  select c.result from mill.completed_job c
  where c.parent_job = w.run and c.step = w.step and c.iteration = w.iteration
    and c.completed_at >= to_timestamp(%(since)s)
  limit 1
) c;

-- name: flow_inputs
select q.id::text, q.args::text from mill.queue q where q.id = any (%(ids)s::uuid[]);

-- name: replace_input
update mill.queue q set args = %(args)s::text::json, args_bytes = octet_length(%(args)s::text)
where q.id = %(id)s::uuid;

-- name: resumes
select f.run::text, f.step, f.approved, f.value::text, f.approver
from mill.flow_resume f
where f.run = any (%(ids)s::uuid[])
order by f.run, f.answered_at, f.resume_id;

-- name: put_resume
insert into mill.flow_resume (run, step, resume_id, approved, value, approver)
values (%(run)s::uuid, %(step)s, %(resume_id)s, %(approved)s, %(value)s::json, %(approver)s)
on conflict (run, resume_id) do nothing
returning resume_id;

-- name: name_resumes
-- The answers that came before anybody asked belong to the step that asks now.
update mill.flow_resume f set step = %(step)s where f.run = %(run)s::uuid and f.step is null;

-- name: set_early
update mill.flow_run r set early = %(step)s where r.id = %(id)s::uuid;

-- name: early_awaited
select q.id::text from mill.queue q where q.id = any (%(ids)s::uuid[]) and q.awaited;

-- name: variables
select v.workspace, v.path, v.value, v.is_secret, v.extra_perms
from unnest(%(workspaces)s::text[], %(paths)s::text[]) as w (workspace, path)
cross join lateral (
  select * from mill.variable v where v.workspace = w.workspace and v.path = w.path limit 1
) v;

-- name: resources
select r.workspace, r.path, r.value::text, false, r.extra_perms
from unnest(%(workspaces)s::text[], %(paths)s::text[]) as w (workspace, path)
cross join lateral (
  select * from mill.resource r where r.workspace = w.workspace and r.path = w.path limit 1
) r;

-- name: current_scripts
-- What paths mean at this moment: never remembered, so that no step runs a version of yesterday.
select p.path, p.workspace, s.workspace, s.hash, s.path, s.language, s.content, s.tag, s.dedicated, s.options
from unnest(%(workspaces)s::text[], %(paths)s::text[]) as w (workspace, path)
cross join lateral (
  select * from mill.script_path p where p.workspace = w.workspace and p.path = w.path limit 1
) p
join mill.script s on s.workspace = p.workspace and s.hash = p.hash;

-- name: current_flows
select p.path, p.workspace, f.workspace, f.hash, f.path, f.value::text, f.tag, f.options
from unnest(%(workspaces)s::text[], %(paths)s::text[]) as w (workspace, path)
cross join lateral (
  select * from mill.flow_path p where p.workspace = w.workspace and p.path = w.path limit 1
) p
join mill.flow f on f.workspace = p.workspace and f.hash = p.hash;

-- name: run_child
-- The one child that a run waits for, if it has ended.
select c.id::text, c.step, c.iteration, c.status, c.result::text
from mill.completed_job c
where c.id = %(job)s::uuid and c.parent_job = %(run)s::uuid and c.completed_at >= to_timestamp(%(since)s);

-- name: run_children_status
select c.id::text, c.iteration, c.status
from mill.completed_job c
where c.parent_job = %(run)s::uuid and c.step = %(step)s and c.completed_at >= to_timestamp(%(since)s);

-- name: open_children
select q.id::text, q.iteration from mill.queue q where q.parent_job = %(run)s::uuid and q.step = %(step)s;

-- name: open_below
-- All that is open below a flow, however deep: its bodies and steps.
with recursive below as (
  select q.id, q.is_flow, q.depth, q.cancel_requested_at
  from mill.queue q where q.parent_job = any (%(ids)s::uuid[])
  union all
  select q.id, q.is_flow, q.depth, q.cancel_requested_at
  from below b join mill.queue q on q.parent_job = b.id
  where b.is_flow
)
select b.id::text, b.is_flow, b.depth, b.cancel_requested_at is not null
from below b order by b.depth desc, b.id;

-- name: cancel_steps
-- Steps of a flow that is cancelled. Waiting: settled here and now. Running: a request in the row. What
-- somebody has locked is looked at again.
with target as (
  select q.id, q.running, q.node
  from mill.queue q
  where q.id = any (%(ids)s::uuid[]) and not q.is_flow
  order by q.id
  for update skip locked
), asked as (
  update mill.queue q
  set cancel_requested_at = coalesce(q.cancel_requested_at, %(now)s::timestamptz, now()),
      cancelled_by = coalesce(q.cancelled_by, %(cancelled_by)s),
      cancel_reason = coalesce(q.cancel_reason, %(reason)s)
  where q.id = any (array(select t.id from target t where t.running))
), gone as (
  delete from mill.queue q
  where q.id = any (array(select t.id from target t where not t.running))
  returning q.*
), done as (
  insert into mill.completed_job (
    id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for, completed_at,
    args, result, created_by, worker, attempt, rescues, parent_job, cancelled_by, cancel_reason, is_flow, step,
    iteration)
  select id, workspace, path, script, tag, priority, 'cancelled', submitted_at, scheduled_for,
    coalesce(%(now)s::timestamptz, now()), args, %(result)s::json, created_by, worker, attempt,
    rescues, parent_job, coalesce(cancelled_by, %(cancelled_by)s), coalesce(cancel_reason, %(reason)s),
    is_flow, step, iteration
  from gone
)
select t.id::text, t.running, g.workspace, g.concurrency_key
from target t left join gone g on g.id = t.id;

-- name: cancel_words
select q.cancelled_by, q.cancel_reason from mill.queue q where q.id = %(id)s::uuid;

-- name: cached_results
select w.workspace, w.key, r.result::text
from unnest(%(workspaces)s::text[], %(keys)s::bytea[]) as w (workspace, key)
cross join lateral (
  select r.result from mill.result_cache r
  where r.workspace = w.workspace and r.key = w.key and r.expires_at > coalesce(%(now)s::timestamptz, now())
  limit 1
) r;

-- name: put_cached
insert into mill.result_cache as k (workspace, key, result, expires_at)
values (%(workspace)s, %(key)s, %(result)s::json,
  coalesce(%(now)s::timestamptz, now()) + make_interval(secs => %(seconds)s))
on conflict (workspace, key) do update set result = excluded.result, expires_at = excluded.expires_at;

-- name: restart_children
-- A flow that begins where another one was: the results before are its own, under new names. Only by who
-- holds it; those of an earlier beginning are older than this one, and not seen.
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at,
  scheduled_for, started_at, completed_at, duration_us, args, result, created_by, worker, attempt, rescues,
  parent_job, is_flow, step, iteration)
select gen_random_uuid(), c.workspace, c.path, c.script, c.tag, c.priority, c.status, c.submitted_at,
  c.scheduled_for, c.started_at, coalesce(%(now)s::timestamptz, now()), c.duration_us, c.args, c.result,
  c.created_by, c.worker, c.attempt, c.rescues, %(run)s::uuid, c.is_flow, c.step, c.iteration
from mill.completed_job c
where c.parent_job = %(from)s::uuid
  and (c.step = any (%(steps)s::text[])
    or (c.step = %(at)s and c.iteration < %(iteration)s))
  and exists (select from mill.queue q where q.id = %(run)s::uuid and q.claim = %(claim)s::uuid);

-- name: forget_results
-- Everything below a flow whose step says so, its failed tries too, and whatever is inside that. A flow
-- within the flow has a say of its own: its steps may bear the same names.
with recursive below as (
  select c.id, split_part(c.step, '~', 1) = any (%(steps)s::text[]) as forgotten,
    c.is_flow and c.script <> %(flow)s as is_other, 1 as level
  from mill.completed_job c
  where c.parent_job = %(root)s::uuid and c.completed_at >= to_timestamp(%(since)s)
  union all
  select c.id, b.forgotten or (not b.is_other and split_part(c.step, '~', 1) = any (%(steps)s::text[])),
    b.is_other or (c.is_flow and c.script <> %(flow)s), b.level + 1
  from below b
  join mill.completed_job c on c.parent_job = b.id and c.completed_at >= to_timestamp(%(since)s)
  where b.level < 100
), emptied as (
  update mill.completed_job c
  set args = '{}', result = '{}'
  where c.id = any (array(select b.id from below b where b.forgotten))
    and c.completed_at >= to_timestamp(%(since)s)
)
delete from mill.job_log l where l.job = any (array(select b.id from below b where b.forgotten));

-- name: put_attempts
-- Failed attempts of steps that have no row of their own while they run.
insert into mill.job_attempt (job, attempt, workspace, started_at, ended_at, worker, error)
select job, attempt, workspace,
  coalesce(%(now)s::timestamptz, now()) - make_interval(secs => (duration_us + age_us) * 1e-6),
  coalesce(%(now)s::timestamptz, now()) - make_interval(secs => age_us * 1e-6), %(worker)s, error
from unnest(
  %(jobs)s::uuid[], %(attempts)s::smallint[], %(workspaces)s::text[], %(durations_us)s::bigint[],
  %(ages_us)s::bigint[], %(errors)s::json[]
) as a (job, attempt, workspace, duration_us, age_us, error)
on conflict do nothing;

-- name: schedule_deletions
-- Steps whose arguments and result are to go a while after their flow's end.
with recursive below as (
  select c.id, split_part(c.step, '~', 1) = any (%(steps)s::text[]) as forgotten,
    c.is_flow and c.script <> %(flow)s as is_other, 1 as level
  from mill.completed_job c
  where c.parent_job = %(root)s::uuid and c.completed_at >= to_timestamp(%(since)s)
  union all
  select c.id, b.forgotten or (not b.is_other and split_part(c.step, '~', 1) = any (%(steps)s::text[])),
    b.is_other or (c.is_flow and c.script <> %(flow)s), b.level + 1
  from below b
  join mill.completed_job c on c.parent_job = b.id and c.completed_at >= to_timestamp(%(since)s)
  where b.level < 100
)
insert into mill.deletion (job, due_at)
select b.id, coalesce(%(now)s::timestamptz, now()) + make_interval(secs => %(seconds)s)
from below b
where b.forgotten or %(everything)s
union all
select %(root)s::uuid, coalesce(%(now)s::timestamptz, now()) + make_interval(secs => %(seconds)s)
where %(everything)s
on conflict (job) do update set due_at = least(mill.deletion.due_at, excluded.due_at);

-- name: take_place
-- Under the key's lock: a place for a step of a flow that is held whole, if there is a free one.
insert into mill.concurrency_slot (workspace, key, job, flow)
select k.workspace, k.key, %(job)s::uuid, %(flow)s::uuid
from mill.concurrency_key k
where k.workspace = %(workspace)s and k.key = %(key)s
  and k.max_running > (
    select count(*) from mill.concurrency_slot s
    where s.workspace = k.workspace and s.key = k.key
      and (s.frees_at is null or s.frees_at > coalesce(%(now)s::timestamptz, now())))
on conflict do nothing
returning job::text;

-- name: leave_places
-- Of steps that another worker had under way when it lost the flow: whoever takes it over starts them anew.
delete from mill.concurrency_slot s
where s.flow = %(flow)s::uuid and s.frees_at is null
returning s.workspace, s.key;
