-- name: runnable_by_path
-- Without its text: what a job's row needs to know.
select false as is_flow, s.hash, s.tag, s.options
from mill.script_path p
join mill.script s on s.workspace = p.workspace and s.hash = p.hash
where p.workspace = %(workspace)s and p.path = %(path)s and %(kind)s::text is distinct from 'flow'
union all
select true, f.hash, f.tag, f.options
from mill.flow_path p
join mill.flow f on f.workspace = p.workspace and f.hash = p.hash
where p.workspace = %(workspace)s and p.path = %(path)s and %(kind)s::text is distinct from 'script';

-- name: runnable_by_hash
select false as is_flow, s.hash, s.tag, s.options
from mill.script s
where s.workspace = %(workspace)s and s.hash = %(hash)s and %(kind)s::text is distinct from 'flow'
union all
select true, f.hash, f.tag, f.options
from mill.flow f
where f.workspace = %(workspace)s and f.hash = %(hash)s and %(kind)s::text is distinct from 'script'
limit 1;

-- name: flow_has_preprocessor
-- What a flow's path means, or one version of it, if it may begin with a preprocessor when it is asked to. No
-- path is read here: a text with NUL somewhere in the flow would make that fail.
select case when strpos(f.value::text, '"preprocessor_module"') > 0 then f.value::text end
from mill.flow f
where f.workspace = %(workspace)s
  and f.hash = coalesce(%(hash)s, (
    select p.hash from mill.flow_path p where p.workspace = %(workspace)s and p.path = %(path)s));

-- name: script_version
select s.path from mill.script s where s.workspace = %(workspace)s and s.hash = %(hash)s;

-- name: flow_version
-- One that a path has meant; a deleted flow's is nobody's.
select d.path, f.hash
from mill.flow f
join mill.deployment d on d.workspace = f.workspace and d.kind = 'flow' and d.hash = f.hash
where f.workspace = %(workspace)s and (f.hash = %(hash)s or f.version = %(version)s::bigint)
order by d.id desc
limit 1;

-- name: submit_jobs
-- One statement for one job or ten thousand. The row is what the caller means; ids are his or ours.
insert into mill.queue (
  id, workspace, path, script, tag, priority, scheduled_for, expires_at, args, args_bytes, created_by,
  timeout_seconds, retry, parent_job, concurrency_key, concurrency_limit, concurrency_window_s, admitted,
  awaited, is_flow, start)
select id, workspace, path, script, tag, priority,
  coalesce(scheduled_for, coalesce(%(now)s::timestamptz, now()) + make_interval(secs => coalesce(delay_seconds, 0))),
  coalesce(expires_at, coalesce(%(now)s::timestamptz, now()) + make_interval(secs => expires_in_seconds)),
  args, args_bytes, created_by, timeout_seconds, retry, parent_job, concurrency_key, concurrency_limit,
  concurrency_window_s, concurrency_key is null, awaited, is_flow, start
from unnest(
  %(ids)s::uuid[], %(workspaces)s::text[], %(paths)s::text[], %(scripts)s::text[], %(tags)s::text[],
  %(priorities)s::smallint[], %(scheduled_for)s::timestamptz[], %(delays_seconds)s::float8[],
  %(expires_at)s::timestamptz[], %(expires_in_seconds)s::float8[], %(args)s::json[],
  %(args_bytes)s::integer[], %(created_by)s::text[], %(timeouts_seconds)s::real[], %(retries)s::json[],
  %(parent_jobs)s::uuid[], %(concurrency_keys)s::text[], %(concurrency_limits)s::integer[],
  %(concurrency_windows_s)s::real[], %(awaited)s::boolean[], %(are_flows)s::boolean[], %(starts)s::json[]
) as s (
  id, workspace, path, script, tag, priority, scheduled_for, delay_seconds, expires_at,
  expires_in_seconds, args, args_bytes, created_by, timeout_seconds, retry, parent_job,
  concurrency_key, concurrency_limit, concurrency_window_s, awaited, is_flow, start);

-- name: copy_jobs
-- The same for a bulk of plain jobs: no keys, nothing scheduled, 3–4 times faster than unnest.
copy mill.queue (id, workspace, path, script, tag, priority, args, args_bytes, created_by,
  timeout_seconds, retry, is_flow) from stdin;

-- name: take_submission_keys
-- First come: the others read whose job the key means. A key that has expired is
-- taken over, unless its job is still open.
insert into mill.submission_key as k (workspace, key, job, args_hash, expires_at)
select s.workspace, s.key, s.job, s.args_hash,
  coalesce(%(now)s::timestamptz, now()) + make_interval(secs => %(keep_seconds)s)
from unnest(%(workspaces)s::text[], %(keys)s::text[], %(jobs)s::uuid[], %(args_hashes)s::bytea[])
  as s (workspace, key, job, args_hash)
order by s.workspace collate "C", s.key collate "C"
on conflict (workspace, key) do update
  set job = excluded.job, args_hash = excluded.args_hash, expires_at = excluded.expires_at
  where k.expires_at <= coalesce(%(now)s::timestamptz, now())
    and not exists (select from mill.queue q where q.id = k.job)
returning k.workspace, k.key;

-- name: submission_keys
select k.workspace, k.key, k.job::text, k.args_hash
from unnest(%(workspaces)s::text[], %(keys)s::text[]) as s (workspace, key)
cross join lateral (
  select * from mill.submission_key k where k.workspace = s.workspace and k.key = s.key limit 1
) k;

-- name: finished_ids
-- An id chosen by a client must mean one job for ever, also when its key is forgotten, and in every
-- workspace.
select c.id::text from mill.completed_job c where c.id = any (%(ids)s::uuid[]) limit 1;

-- name: put_concurrency_keys
-- In the order of lock_concurrency_keys, so that nobody waits on each other crosswise. A key that is
-- there with this limit is not touched, and inside a caller's own transaction a new one is left to
-- the sweep: nobody shall wait for a transaction that lasts.
insert into mill.concurrency_key as k (workspace, key, max_running, window_s)
select s.workspace, s.key, s.max_running, s.window_s
from unnest(%(workspaces)s::text[], %(keys)s::text[], %(limits)s::integer[], %(windows_s)s::real[])
  as s (workspace, key, max_running, window_s)
left join lateral (
  select c.max_running, c.window_s from mill.concurrency_key c
  where c.workspace = s.workspace and c.key = s.key
  limit 1
) c on true
where (s.max_running, s.window_s) is distinct from (c.max_running, c.window_s)
  and (c.max_running is not null or not %(inside)s)
order by s.workspace collate "C", s.key collate "C"
on conflict (workspace, key) do update
  set max_running = excluded.max_running, window_s = excluded.window_s
  where (k.max_running, k.window_s) <> (excluded.max_running, excluded.window_s);

-- name: await_job
-- Ask for a ring of mill_settled; what is no longer in the queue is finished already. One job a
-- transaction: who held several would be crosswise with a settle. A claim passes a row by that we
-- hold, so its tag is told, to ring for it.
update mill.queue q set awaited = true
where q.id = %(id)s::uuid and not q.awaited
returning q.tag, q.admitted and not q.running;
