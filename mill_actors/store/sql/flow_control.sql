-- Flows as people steer them: what they mean, answers to approvals, new beginnings.

-- name: flow_asking
-- The body that waits for an answer, of a flow and all that is open inside it: the outermost first. By
-- their runs: bodies of a flow that one worker holds whole have no row in queue.
with recursive below as (
  select r.id, r.root, r.state, 0 as level from mill.flow_run r where r.id = %(job)s::uuid
  union all
  select r.id, r.root, r.state, b.level + 1
  from below b join mill.flow_run r on r.root = b.root and r.depth > 0 and r.parent = b.id
  where b.level < 200
)
select b.id::text
from below b
-- 4: Phase.SUSPENDED
where (b.state->>0)::integer = 4
order by b.level, b.id
limit 1;

-- name: answered_job
select q.is_flow, q.parent_job::text, null as status
from mill.queue q
where q.workspace = %(workspace)s and q.id = %(id)s::uuid
union all
select c.is_flow, c.parent_job::text, c.status
from mill.completed_job c
where c.workspace = %(workspace)s and c.id = %(id)s::uuid
limit 1;
