-- Lists with many filters, newest first. Each is a walk along an index, at most `budget` rows far, and the
-- filters are asked of what it meets: so a filter that nothing matches costs no more than one that much does.
-- They are planned for their values (plan_for_values): of the walks below one is left then, and of the
-- filters those that were given.

-- name: list_completed
-- By the time of their ends; below a parent, where they lie beside each other, by theirs, too.
select c.id::text, c.path, c.script, c.tag, c.priority, c.submitted_at, c.scheduled_for, c.created_by, c.attempt,
  c.parent_job::text, c.is_flow, c.step, c.worker, c.cancelled_by, c.cancel_reason,
  c.status = 'cancelled' as is_cancelled, false as is_running, c.started_at, c.completed_at, c.duration_us, c.status,
  case when %(args)s and pg_column_size(c.args) <= %(most_bytes)s then c.args::text end,
  case when %(result)s and pg_column_size(c.result) <= %(most_bytes)s then c.result::text end
from (
  (select * from mill.completed_job w
  where %(parent_job)s::uuid is null and not %(ascending)s and w.workspace = %(workspace)s
    and w.completed_at <= coalesce(%(before)s::timestamptz, 'infinity')
    and w.completed_at >= coalesce(%(since)s::timestamptz, '-infinity')
    and (%(before_id)s::uuid is null or (w.completed_at, w.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
  order by w.completed_at desc, w.id desc
  limit %(budget)s)
  union all
  (select * from mill.completed_job w
  where %(parent_job)s::uuid is null and %(ascending)s and w.workspace = %(workspace)s
    and w.completed_at <= coalesce(%(before)s::timestamptz, 'infinity')
    and w.completed_at >= coalesce(%(since)s::timestamptz, '-infinity')
    and (%(since_id)s::uuid is null or (w.completed_at, w.id) > (%(since)s::timestamptz, %(since_id)s::uuid))
  order by w.completed_at, w.id
  limit %(budget)s)
  union all
  (select * from (
    select * from mill.completed_job w
    where w.parent_job = %(parent_job)s::uuid and w.workspace = %(workspace)s
      and w.completed_at <= coalesce(%(before)s::timestamptz, 'infinity')
      and w.completed_at >= coalesce(%(since)s::timestamptz, '-infinity')
      and (%(before_id)s::uuid is null or (w.completed_at, w.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
    order by w.parent_job desc, w.step desc, w.iteration desc
    limit %(budget)s
  ) w
  order by w.completed_at desc, w.id desc)
) c
where (%(readable)s::text[] is null or c.created_by = %(me)s or c.path like any (%(readable)s::text[]))
  and (%(created_by)s::text[] is null
    or (regexp_replace(c.created_by, '^u/', '') like any (%(created_by)s::text[])) <> %(created_by_not)s)
  and (%(path)s::text[] is null or (c.path like any (%(path)s::text[])) <> %(path_not)s)
  and (%(path_start)s::text[] is null or (c.path like any (%(path_start)s::text[])) <> %(path_start_not)s)
  and (%(tag)s::text[] is null or (c.tag like any (%(tag)s::text[])) <> %(tag_not)s)
  and (%(worker)s::text[] is null or (coalesce(c.worker, '') like any (%(worker)s::text[])) <> %(worker_not)s)
  and (%(kinds)s::text[] is null or (
    -- Previews' hashes begin with p.
    case when c.script < 'p' then case when c.is_flow then 'flow' else 'script' end
    else case when c.is_flow then 'flowpreview' else 'preview' end end = any (%(kinds)s::text[])) <> %(kinds_not)s)
  and (%(statuses)s::text[] is null or (c.status = any (%(statuses)s::text[])) <> %(statuses_not)s)
  and (%(success)s::boolean is null or (c.status in ('success', 'skipped')) = %(success)s)
  and (%(is_skipped)s::boolean is null or (c.status = 'skipped') = %(is_skipped)s)
  and (%(script_hash)s::text is null or c.script = %(script_hash)s)
  and (%(is_flow_step)s::boolean is null or (c.step is not null) = %(is_flow_step)s)
  and (%(has_null_parent)s::boolean is null or (c.parent_job is null) = %(has_null_parent)s)
  and (%(created_before)s::timestamptz is null or c.submitted_at < %(created_before)s)
  and (%(created_after)s::timestamptz is null or c.submitted_at > %(created_after)s)
  and (%(started_before)s::timestamptz is null or c.started_at < %(started_before)s)
  and (%(started_after)s::timestamptz is null or c.started_at > %(started_after)s)
  and (%(completed_before)s::timestamptz is null or c.completed_at < %(completed_before)s)
  and (%(completed_after)s::timestamptz is null or c.completed_at > %(completed_after)s)
  and (%(words)s::text is null or c.path ilike %(words)s or c.created_by ilike %(words)s or c.tag ilike %(words)s)
limit %(limit)s offset %(offset)s;

-- name: completed_walk_end
-- Where the walk of list_completed ends; none: there is nothing beyond what it has met.
select w.completed_at, w.id::text from (
  (select w.completed_at, w.id from mill.completed_job w
  where %(parent_job)s::uuid is null and not %(ascending)s and w.workspace = %(workspace)s
    and w.completed_at <= coalesce(%(before)s::timestamptz, 'infinity')
    and w.completed_at >= coalesce(%(since)s::timestamptz, '-infinity')
    and (%(before_id)s::uuid is null or (w.completed_at, w.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
  order by w.completed_at desc, w.id desc
  offset %(budget)s - 1 limit 1)
  union all
  (select w.completed_at, w.id from mill.completed_job w
  where %(parent_job)s::uuid is null and %(ascending)s and w.workspace = %(workspace)s
    and w.completed_at <= coalesce(%(before)s::timestamptz, 'infinity')
    and w.completed_at >= coalesce(%(since)s::timestamptz, '-infinity')
    and (%(since_id)s::uuid is null or (w.completed_at, w.id) > (%(since)s::timestamptz, %(since_id)s::uuid))
  order by w.completed_at, w.id
  offset %(budget)s - 1 limit 1)
  union all
  (select w.completed_at, w.id from (
    select * from mill.completed_job w
    where w.parent_job = %(parent_job)s::uuid and w.workspace = %(workspace)s
      and w.completed_at <= coalesce(%(before)s::timestamptz, 'infinity')
      and w.completed_at >= coalesce(%(since)s::timestamptz, '-infinity')
      and (%(before_id)s::uuid is null or (w.completed_at, w.id) < (%(before)s::timestamptz, %(before_id)s::uuid))
    order by w.parent_job desc, w.step desc, w.iteration desc
    limit %(budget)s
  ) w
  order by w.completed_at desc, w.id desc
  offset %(budget)s - 1 limit 1)
) w;

-- name: completed_after_many
-- The moment until which so many jobs had ended after another moment.
select c.completed_at from mill.completed_job c
where c.workspace = %(workspace)s and c.completed_at >= %(after)s::timestamptz
order by c.completed_at
offset %(many)s limit 1;

-- name: list_open
-- By their ids, newest first: ours are made in the order of time, and the queue has no index by time, which
-- every claim would have to write. Running ones have one, and so have those below a parent.
select c.id::text, c.path, c.script, c.tag, c.priority, c.submitted_at, c.scheduled_for, c.created_by, c.attempt,
  c.parent_job::text, c.is_flow, c.step, c.worker, c.cancelled_by, c.cancel_reason,
  c.cancel_requested_at is not null, c.running or c.begun,
  coalesce((select r.started_at from mill.flow_run r where r.id = c.id), c.claimed_at), null, null, null,
  case when %(args)s and pg_column_size(c.args) <= %(most_bytes)s then c.args::text end, null
from (
  (select * from mill.queue w
  where %(parent_job)s::uuid is null and %(running)s::boolean is not true and not %(ascending)s
    and (%(before_id)s::uuid is null or w.id < %(before_id)s::uuid)
  order by w.id desc
  limit %(budget)s)
  union all
  (select * from mill.queue w
  where %(parent_job)s::uuid is null and %(running)s::boolean is not true and %(ascending)s
    and (%(since_id)s::uuid is null or w.id > %(since_id)s::uuid)
  order by w.id
  limit %(budget)s)
  union all
  (select * from (
    select * from mill.queue w where w.running
    union all
    select * from mill.queue w where not w.running and w.begun
  ) w
  where %(parent_job)s::uuid is null and %(running)s::boolean is true
    and (%(before_id)s::uuid is null or w.id < %(before_id)s::uuid)
    and (%(since_id)s::uuid is null or w.id > %(since_id)s::uuid)
  order by case when %(ascending)s then w.id end, w.id desc
  limit %(budget)s)
  union all
  (select * from mill.queue w
  where w.parent_job = %(parent_job)s::uuid
    and (%(before_id)s::uuid is null or w.id < %(before_id)s::uuid)
    and (%(since_id)s::uuid is null or w.id > %(since_id)s::uuid)
  order by case when %(ascending)s then w.id end, w.id desc
  limit %(budget)s)
) c
where c.workspace = %(workspace)s
  and (%(readable)s::text[] is null or c.created_by = %(me)s or c.path like any (%(readable)s::text[]))
  and (%(created_by)s::text[] is null
    or (regexp_replace(c.created_by, '^u/', '') like any (%(created_by)s::text[])) <> %(created_by_not)s)
  and (%(path)s::text[] is null or (c.path like any (%(path)s::text[])) <> %(path_not)s)
  and (%(path_start)s::text[] is null or (c.path like any (%(path_start)s::text[])) <> %(path_start_not)s)
  and (%(tag)s::text[] is null or (c.tag like any (%(tag)s::text[])) <> %(tag_not)s)
  and (%(worker)s::text[] is null or (coalesce(c.worker, '') like any (%(worker)s::text[])) <> %(worker_not)s)
  and (%(kinds)s::text[] is null or (
    -- Previews' hashes begin with p.
    case when c.script < 'p' then case when c.is_flow then 'flow' else 'script' end
    else case when c.is_flow then 'flowpreview' else 'preview' end end = any (%(kinds)s::text[])) <> %(kinds_not)s)
  and (%(running)s::boolean is null or (c.running or c.begun) = %(running)s)
  and (%(suspended)s::boolean is null or %(suspended)s = (c.is_flow and c.begun and exists (
    -- 4: Phase.SUSPENDED
    select from mill.flow_run r where r.id = c.id and (r.state->>0)::integer = 4)))
  and (%(due)s::boolean is null or (c.scheduled_for <= now()) = %(due)s)
  and (%(concurrency_key)s::text is null or c.concurrency_key = %(concurrency_key)s)
  and (%(script_hash)s::text is null or c.script = %(script_hash)s)
  and (%(is_flow_step)s::boolean is null or (c.step is not null) = %(is_flow_step)s)
  and (%(has_null_parent)s::boolean is null or (c.parent_job is null) = %(has_null_parent)s)
  and (%(created_before)s::timestamptz is null or c.submitted_at < %(created_before)s)
  and (%(created_after)s::timestamptz is null or c.submitted_at > %(created_after)s)
  and (%(started_before)s::timestamptz is null or c.claimed_at < %(started_before)s)
  and (%(started_after)s::timestamptz is null or c.claimed_at > %(started_after)s)
  and (%(words)s::text is null or c.path ilike %(words)s or c.created_by ilike %(words)s or c.tag ilike %(words)s)
limit %(limit)s offset %(offset)s;

-- name: open_walk_end
-- Where the walk of list_open ends.
select w.id::text from (
  (select w.id from mill.queue w
  where %(parent_job)s::uuid is null and %(running)s::boolean is not true and not %(ascending)s
    and (%(before_id)s::uuid is null or w.id < %(before_id)s::uuid)
  order by w.id desc
  offset %(budget)s - 1 limit 1)
  union all
  (select w.id from mill.queue w
  where %(parent_job)s::uuid is null and %(running)s::boolean is not true and %(ascending)s
    and (%(since_id)s::uuid is null or w.id > %(since_id)s::uuid)
  order by w.id
  offset %(budget)s - 1 limit 1)
  union all
  (select w.id from (
    select w.id from mill.queue w where w.running
    union all
    select w.id from mill.queue w where not w.running and w.begun
  ) w
  where %(parent_job)s::uuid is null and %(running)s::boolean is true
    and (%(before_id)s::uuid is null or w.id < %(before_id)s::uuid)
    and (%(since_id)s::uuid is null or w.id > %(since_id)s::uuid)
  order by case when %(ascending)s then w.id end, w.id desc
  offset %(budget)s - 1 limit 1)
  union all
  (select w.id from mill.queue w
  where w.parent_job = %(parent_job)s::uuid
    and (%(before_id)s::uuid is null or w.id < %(before_id)s::uuid)
    and (%(since_id)s::uuid is null or w.id > %(since_id)s::uuid)
  order by case when %(ascending)s then w.id end, w.id desc
  offset %(budget)s - 1 limit 1)
) w;

-- name: member_emails
select m.username, m.email from mill.member m
where m.workspace = %(workspace)s and m.username = any (%(usernames)s::text[]);

-- name: script_languages
select s.hash, s.language from mill.script s
where s.workspace = %(workspace)s and s.hash = any (%(hashes)s::text[]);

-- name: count_open
select count(*), count(*) filter (where q.is_flow and q.begun and exists (
  -- 4: Phase.SUSPENDED
  select from mill.flow_run r where r.id = q.id and (r.state->>0)::integer = 4))
from mill.queue q
where q.workspace = %(workspace)s;

-- name: count_completed
select count(*) from mill.completed_job c where c.workspace = %(workspace)s;

-- name: count_earlier
-- How many wait that were due before: no more than `limit` are counted.
select count(*) from (
  select from mill.queue q
  where q.workspace = %(workspace)s and not q.running and not q.begun and q.scheduled_for < %(before)s::timestamptz
  limit %(limit)s
) q;

-- name: export_completed
-- By the time of their ends, so that pages stay as they are while others end.
select c.id::text, c.path, c.script, c.tag, c.priority, c.submitted_at, c.scheduled_for, c.created_by, c.attempt,
  c.parent_job::text, c.is_flow, c.step, c.worker, c.cancelled_by, c.cancel_reason,
  c.status = 'cancelled', false, c.started_at, c.completed_at, c.duration_us, c.status, c.args::text, c.result::text
from mill.completed_job c
where c.workspace = %(workspace)s
order by c.completed_at, c.id
limit %(limit)s offset %(offset)s;

-- name: export_open
select c.id::text, c.path, c.script, c.tag, c.priority, c.submitted_at, c.scheduled_for, c.created_by, c.attempt,
  c.parent_job::text, c.is_flow, c.step, c.worker, c.cancelled_by, c.cancel_reason,
  c.cancel_requested_at is not null, c.running or c.begun, c.claimed_at, null, null, null, c.args::text, null
from mill.queue c
where c.workspace = %(workspace)s
order by c.id
limit %(limit)s offset %(offset)s;
