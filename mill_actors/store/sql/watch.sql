-- name: watch_jobs
-- A word for each of these jobs that is another whenever something about it is new: its row, its flow's
-- state, the rows of its open steps, how far it says it is, what it has printed. A row's `xmin` is the transaction that wrote it.
-- What it prints is written after it was submitted: one partition or two, not all of them.
select w.id::text, concat_ws(' ', q.xmin::text, r.xmin::text, k.marks, p.percent, l.attempt, l.position)
from unnest(%(ids)s::uuid[]) as w (id)
left join lateral (select q.xmin, q.submitted_at, q.is_flow from mill.queue q where q.id = w.id limit 1) q on true
left join lateral (select r.xmin, r.started_at from mill.flow_run r where r.id = w.id limit 1) r on true
left join lateral (select p.percent from mill.job_progress p where p.job = w.id limit 1) p on true
left join lateral (
  select string_agg(k.xmin::text, ',') as marks
  from (select k.xmin from mill.queue k where k.parent_job = w.id limit 20) k
  where q.is_flow
) k on true
left join lateral (
  select l.attempt, l.position from mill.job_log l
  where l.job = w.id and l.written_at >= coalesce(q.submitted_at, r.started_at)
    and l.written_at < now() + interval '1 hour'
  order by l.attempt desc, l.position desc
  limit 1
) l on true;
