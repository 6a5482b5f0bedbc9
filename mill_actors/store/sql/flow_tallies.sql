-- What is inside the loops and branches of a run, counted here: a loop may have 100,000 iterations. The
-- inner queries end with `offset 0`, so that each body's children are found by their index: a plan that
-- joined instead would read all of history, whatever it thinks of the number of bodies.

-- name: flow_ended_inside
-- How many children of each kind have ended: below the flow and its open bodies, and below bodies that have
-- ended. `owners` are the steps with bodies, `branching` those of them whose children have names of their own.
with recursive ended as (
  select c.step, c.iteration, c.status, c.is_flow and c.step = any (%(owners)s::text[]) as is_body, c.id
  from (
    select %(job)s::uuid as id
    union all
    select r.id from mill.flow_run r
    where r.root = (select o.root from mill.flow_run o where o.id = %(job)s::uuid) and r.depth > 0
      and %(job)s::uuid = any (r.chain)
  ) b
  cross join lateral (
    select c.id, c.step, c.iteration, c.status, c.is_flow
    from mill.completed_job c
    where c.parent_job = b.id
      and c.completed_at >= %(since)s::timestamptz and c.completed_at <= %(until)s::timestamptz
    offset 0
  ) c
  union all
  select c.step, c.iteration, c.status, c.is_flow and c.step = any (%(owners)s::text[]), c.id
  from ended b
  cross join lateral (
    select c.id, c.step, c.iteration, c.status, c.is_flow
    from mill.completed_job c
    where c.parent_job = b.id
      and c.completed_at >= %(since)s::timestamptz and c.completed_at <= %(until)s::timestamptz
    offset 0
  ) c
  where b.is_body
)
select e.step, case when e.step = any (%(branching)s::text[]) then e.iteration end, e.iteration is null,
  e.status, count(*)
from ended e
where e.step = any (%(steps)s::text[])
group by 1, 2, 3, 4;

-- name: flow_queued_inside
-- How many open children of each kind have a row, but for bodies that have begun.
with run as materialized (
  select r.id from mill.flow_run r
  where r.id = %(job)s::uuid
  union all
  select r.id from mill.flow_run r
  where r.root = (select o.root from mill.flow_run o where o.id = %(job)s::uuid) and r.depth > 0
    and %(job)s::uuid = any (r.chain)
)
select q.step, case when q.step = any (%(branching)s::text[]) then q.iteration end, q.iteration is null,
  case when q.running or q.begun then 'running' else 'queued' end, count(*)
from run r
cross join lateral (
  select q.id, q.step, q.iteration, q.running, q.begun from mill.queue q where q.parent_job = r.id offset 0
) q
where q.step = any (%(steps)s::text[]) and not exists (select from run o where o.id = q.id)
group by 1, 2, 3, 4;

-- name: flow_runs_inside
-- The flow and its bodies that have begun, by what each is at: flows/state.py says what stands where in a
-- state. `choices` are the steps, as BODY:AT, at which the counter names a branch.
select r.body, r.phase, r.at, case when r.body || ':' || r.at = any (%(choices)s::text[]) then r.iteration end,
  count(*), sum(r.started - r.ended)::bigint, sum(greatest(r.length - r.started, 0))::bigint
from (
  select r.body, (r.state->>0)::integer as phase, (r.state->>1)::integer as at,
    (r.state->>3)::integer as iteration, (r.state->>4)::integer as length, (r.state->>5)::integer as started,
    (r.state->>6)::integer as ended
  from mill.flow_run r
  where r.id = %(job)s::uuid
  union all
  select r.body, (r.state->>0)::integer, (r.state->>1)::integer, (r.state->>3)::integer,
    (r.state->>4)::integer, (r.state->>5)::integer, (r.state->>6)::integer
  from mill.flow_run r
  where r.root = (select o.root from mill.flow_run o where o.id = %(job)s::uuid) and r.depth > 0
    and %(job)s::uuid = any (r.chain)
) r
group by 1, 2, 3, 4;
