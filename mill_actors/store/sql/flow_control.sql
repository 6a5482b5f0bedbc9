-- Flows as people steer them: answers to approvals.

-- name: flow_asking
-- The body that waits for an answer, of a flow and all that is open inside it: the outermost first.
with recursive known as materialized (
  select r.id, r.parent, r.state
  from mill.flow_run o
  join mill.flow_run r on r.id = o.root or (r.root = o.root and r.depth > 0)
  where o.id = %(job)s::uuid
), below as (
  select k.id, k.state, 0 as level from known k where k.id = %(job)s::uuid
  union all
  select k.id, k.state, b.level + 1 from below b join known k on k.parent = b.id
)
select b.id::text from below b
-- 4: Phase.SUSPENDED
where (b.state->>0)::integer = 4
order by b.level, b.id
limit 1;

-- name: answered_job
-- A job of a flow or of a step. A body of a flow that one worker holds whole has no row in the queue.
select q.is_flow, q.parent_job::text, null as status
from mill.queue q
where q.workspace = %(workspace)s and q.id = %(id)s::uuid
union all
select true, r.parent::text, null
from mill.flow_run r
where r.workspace = %(workspace)s and r.id = %(id)s::uuid
union all
select c.is_flow, c.parent_job::text, c.status
from mill.completed_job c
where c.workspace = %(workspace)s and c.id = %(id)s::uuid
limit 1;
