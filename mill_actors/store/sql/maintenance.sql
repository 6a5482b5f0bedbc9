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
-- Slots whose job is gone: nobody should leave one, and a slot that stays would lower a limit for ever.
delete from mill.concurrency_slot s
where not exists (select from mill.queue q where q.id = s.job);
