-- name: write_logs
insert into mill.job_log (job, position, attempt, workspace, written_at, text)
select *
from unnest(%(jobs)s::uuid[], %(positions)s::bigint[], %(attempts)s::smallint[], %(workspaces)s::text[],
  array_fill(now(), array[cardinality(%(jobs)s::uuid[])]), %(texts)s::text[])
on conflict do nothing;

-- name: read_logs
-- A piece that was sent again, after a COMMIT whose reply was lost, is there twice: the time of
-- writing is part of the key, because it is what the partitions go by. It is read once.
select distinct on (attempt, position) attempt, position, text from mill.job_log
where workspace = %(workspace)s and job = %(id)s::uuid
  and (attempt, position) > (%(attempt)s, %(position)s)
order by attempt, position, written_at;

-- name: read_many_logs
select distinct on (l.job, l.attempt, l.position) l.job::text, l.text from mill.job_log l
where l.workspace = %(workspace)s and l.job = any (%(ids)s::uuid[])
order by l.job, l.attempt, l.position, l.written_at;
