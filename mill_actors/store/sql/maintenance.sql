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
  limit %(limit)s));

-- name: prune_concurrency_keys
-- Keys nobody uses; a submit that comes between takes the row's lock and puts it back.
delete from mill.concurrency_key k
where not exists (select from mill.concurrency_slot s where s.workspace = k.workspace and s.key = k.key)
  and not exists (select from mill.queue q where q.workspace = k.workspace and q.concurrency_key = k.key
                  and not q.admitted);

-- name: prune_slots
-- Slots whose job is gone: nobody should leave one, and a slot that stays would lower a limit for ever.
delete from mill.concurrency_slot s
where not exists (select from mill.queue q where q.id = s.job);
