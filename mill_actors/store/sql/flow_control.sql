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
-- A job of a flow or of a step; any other may name any parent, and answers for none. A body of a flow that one worker holds whole has no row in the queue.
select q.is_flow, case when q.step is not null then q.parent_job::text end, null as status
from mill.queue q
where q.workspace = %(workspace)s and q.id = %(id)s::uuid
union all
select true, r.parent::text, null
from mill.flow_run r
where r.workspace = %(workspace)s and r.id = %(id)s::uuid
union all
select c.is_flow, case when c.step is not null then c.parent_job::text end, c.status
from mill.completed_job c
where c.workspace = %(workspace)s and c.id = %(id)s::uuid
limit 1;

-- name: lock_asked_run
-- The body that hears an answer. Locked: nobody may move it on between the question who may answer and the
-- answer. An open flow that has not begun has no row here.
select r.flow, r.body, r.state::text, r.root::text, o.path, o.created_by,
  (select q.args::text from mill.queue q where q.id = r.id) as args
from mill.flow_run r
join mill.queue o on o.id = r.root
where r.workspace = %(workspace)s and r.id = %(id)s::uuid
for update of r;

-- name: asked_flow
select q.script, '' as body, null as state, o.id::text, o.path, o.created_by, q.args::text
from mill.queue q
join mill.queue o on o.id = coalesce(q.root_job, q.id)
where q.workspace = %(workspace)s and q.id = %(id)s::uuid;

-- name: flow_summary
select f.summary from mill.flow f where f.workspace = %(workspace)s and f.hash = %(hash)s;

-- name: step_result
-- Of the step that asks: what it returned may say what it is about.
select c.result::text from mill.completed_job c
where c.parent_job = %(run)s::uuid and c.step = %(step)s
order by c.completed_at desc
limit 1;

-- name: answers
select f.resume_id, f.approver, f.approved, f.step
from mill.flow_resume f
where f.run = %(run)s::uuid and f.resume_id >= 0
order by f.answered_at, f.resume_id;
