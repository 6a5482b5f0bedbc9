-- name: write_logs
insert into mill.job_log (job, position, attempt, workspace, written_at, text)
select *
from unnest(%(jobs)s::uuid[], %(positions)s::bigint[], %(attempts)s::smallint[], %(workspaces)s::text[],
  array_fill(now(), array[cardinality(%(jobs)s::uuid[])]), %(texts)s::text[])
on conflict do nothing;

-- name: read_logs
select attempt, position, text from mill.job_log
where workspace = %(workspace)s and job = %(id)s::uuid
  and (attempt, position) > (%(attempt)s, %(position)s)
order by attempt, position;
