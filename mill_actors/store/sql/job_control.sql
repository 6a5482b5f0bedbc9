-- Jobs as people steer them one by one.

-- name: job_head
-- Who a job belongs to and what it is, wherever it is. A body of a flow that one worker holds whole has no
-- row in the queue: what it runs as is what its root does.
select * from (
  select q.id::text, q.path, q.script, q.created_by, q.is_flow, q.parent_job::text, q.root_job::text,
    q.step, q.tag, null::text as status, q.scheduled_for
  from mill.queue q
  where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  union all
  select r.id::text, o.path, r.flow, o.created_by, true, r.parent::text, r.root::text, r.step, o.tag, null,
    o.scheduled_for
  from mill.flow_run r
  join mill.queue o on o.id = r.root
  where r.workspace = %(workspace)s and r.id = %(id)s::uuid
  union all
  select c.id::text, c.path, c.script, c.created_by, c.is_flow, c.parent_job::text, null, c.step, c.tag,
    c.status, c.scheduled_for
  from mill.completed_job c
  where c.workspace = %(workspace)s and c.id = %(id)s::uuid
) j limit 1;

-- name: open_jobs_of_path
-- For people: no index has the path, and it is asked for seldom.
select q.id::text from mill.queue q
where q.workspace = %(workspace)s and q.path = %(path)s and q.parent_job is null
order by q.id
limit %(limit)s;

-- name: run_now
-- What waits for its time, or for its next try.
update mill.queue q set scheduled_for = now()
where q.workspace = %(workspace)s and q.id = %(id)s::uuid
  and not q.running and not q.begun and q.scheduled_for > now()
returning q.tag;
