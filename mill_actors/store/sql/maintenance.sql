-- name: ensure_partitions
select mill.ensure_partitions(%(days_ahead)s);

-- name: drop_partitions
select mill.drop_partitions(%(parent)s, now() - make_interval(days => %(days)s));

-- name: prune_submission_keys
-- Bounded: what is left over waits for the next round. A key outlives its open job.
delete from mill.submission_key
where ctid = any (array(
  select k.ctid from mill.submission_key k
  where k.expires_at <= now() and not exists (select from mill.queue q where q.id = k.job)
  limit %(limit)s
  -- A submitter that takes a key over has locked it, and wins.
  for update of k skip locked));

-- name: lock_unused_concurrency_keys
-- Keys nobody seems to use. Who submits meanwhile either holds the key, and we pass it by, or waits
-- for us; so after this statement the next one knows.
select k.workspace, k.key from mill.concurrency_key k
where not exists (select from mill.concurrency_slot s where s.workspace = k.workspace and s.key = k.key)
  and not exists (select from mill.queue q where q.workspace = k.workspace and q.concurrency_key = k.key
                  and not q.admitted)
limit %(limit)s
for update of k skip locked;

-- name: prune_concurrency_keys
-- Asked again under the locks: what was committed just before we took them is visible only now.
delete from mill.concurrency_key k
using unnest(%(workspaces)s::text[], %(keys)s::text[]) as w (workspace, key)
where k.workspace = w.workspace and k.key = w.key
  and not exists (select from mill.concurrency_slot s where s.workspace = k.workspace and s.key = k.key)
  and not exists (select from mill.queue q where q.workspace = k.workspace and q.concurrency_key = k.key
                  and not q.admitted);

-- name: prune_slots
-- Slots whose job is gone, and whose window is over: nobody should leave one without a window, and a slot
-- that stays would lower a limit for ever.
delete from mill.concurrency_slot s
where (s.frees_at is null or s.frees_at <= now())
  and not exists (select from mill.queue q where q.id = coalesce(s.flow, s.job));

-- name: prune_cached_results
delete from mill.result_cache
where ctid = any (array(
  select r.ctid from mill.result_cache r where r.expires_at <= now() limit %(limit)s for update skip locked));

-- name: drop_previews
select mill.drop_previews(now() - make_interval(days => %(days)s), %(limit)s);

-- name: prune_user_states
-- As old as history may be; a flow that is still open keeps its own.
delete from mill.flow_user_state
where ctid = any (array(
  select s.ctid from mill.flow_user_state s
  where s.set_at < now() - make_interval(days => %(days)s)
    and not exists (select from mill.queue q where q.id = s.job)
  limit %(limit)s for update of s skip locked));

-- name: prune_progress
delete from mill.job_progress
where ctid = any (array(
  select p.ctid from mill.job_progress p
  where p.set_at < now() - make_interval(days => %(days)s)
    and not exists (select from mill.queue q where q.id = p.job)
  limit %(limit)s for update of p skip locked));

-- name: delete_due
-- What jobs were given and what they made, when somebody wanted it gone by now; and what they printed.
with due as (
  delete from mill.deletion
  where ctid = any (array(
    select d.ctid from mill.deletion d where d.due_at <= now() limit %(limit)s for update skip locked))
  returning job
), emptied as (
  update mill.completed_job c set args = '{}', result = '{}'
  where c.id = any (array(select d.job from due d))
)
delete from mill.job_log l where l.job = any (array(select d.job from due d));

-- name: next_deletion
select greatest(extract(epoch from min(d.due_at) - now()), 0)::float8 from mill.deletion d;

-- name: open_flows
select q.id::text from mill.queue q where q.is_flow;
