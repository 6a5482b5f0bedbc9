-- What is finished, partitioned by settle time: retention drops a partition.
create table mill.completed_job (
  id            uuid not null,
  workspace     text collate "C" not null,
  path          text collate "C" not null,
  script        text collate "C" not null,
  tag           text collate "C" not null,
  priority      smallint not null,
  status        text collate "C" not null,
  submitted_at  timestamptz not null,
  scheduled_for timestamptz not null,
  started_at    timestamptz,
  completed_at  timestamptz not null,
  duration_us   bigint,
  args          json not null,
  result        json,
  created_by    text not null,
  worker        text,
  attempt       smallint not null,
  rescues       smallint not null,
  parent_job    uuid,
  cancelled_by  text,
  cancel_reason text,
  primary key (id, completed_at),
  constraint completed_job_status check (status in ('success', 'failure', 'cancelled', 'skipped'))
) partition by range (completed_at);
-- list_jobs: newest first within a workspace
create index completed_job_listing on mill.completed_job (workspace, completed_at);
create table mill.completed_job_default partition of mill.completed_job default;

-- The attempts before the last one; the last is the completed job itself.
create table mill.job_attempt (
  job         uuid not null,
  attempt     smallint not null,
  workspace   text collate "C" not null,
  started_at  timestamptz not null,
  ended_at    timestamptz not null,
  worker      text not null,
  error       json not null,
  primary key (job, attempt, ended_at)
) partition by range (ended_at);
create table mill.job_attempt_default partition of mill.job_attempt default;

-- What a job printed, in the order it was printed: chunk by chunk.
create table mill.job_log (
  job        uuid not null,
  position   bigint not null,
  attempt    smallint not null,
  workspace  text collate "C" not null,
  written_at timestamptz not null,
  text       text not null,
  primary key (job, attempt, position, written_at)
) partition by range (written_at);
create table mill.job_log_default partition of mill.job_log default;

-- A worker's role needs no DDL: partitions are made and dropped by the owner's rights.
-- They need strong locks for a moment. Behind one that waits, every claim and settle would wait too,
-- so a reader in the way makes them give up: the next round tries again.
create function mill.ensure_partitions(days_ahead integer, today date default current_date) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  parent text;
  day    date;
  made   integer := 0;
begin
  -- One maker at a time; the others find everything there.
  if not pg_try_advisory_xact_lock(hashtext('mill.ensure_partitions')) then
    return 0;
  end if;
  foreach parent in array array['completed_job', 'job_attempt', 'job_log'] loop
    for day in select generate_series(today, today + days_ahead, '1 day')::date loop
      continue when to_regclass(format('mill.%I', parent || to_char(day, '"_"YYYYMMDD'))) is not null;
      begin
        execute format(
          'create table mill.%I partition of mill.%I for values from (%L) to (%L)',
          parent || to_char(day, '"_"YYYYMMDD'), parent,
          day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
        made := made + 1;
      exception
        when check_violation then
          -- The default partition already holds rows of that day; they stay there, and so does the day.
          null;
        when lock_not_available then
          exit;
      end;
    end loop;
  end loop;
  return made;
end $$;

create function mill.drop_partitions(parent text, before timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  child   text;
  dropped integer := 0;
begin
  if parent not in ('completed_job', 'job_attempt', 'job_log') then
    raise exception 'mill.drop_partitions: no such history: %', parent;
  end if;
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = format('mill.%I', parent)::regclass
      and c.relname ~ '_[0-9]{8}$'
      and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (before at time zone 'UTC')::date
  loop
    begin
      execute format('drop table mill.%I', child);
      dropped := dropped + 1;
    exception when lock_not_available then
      return dropped;
    end;
  end loop;
  execute format('delete from mill.%I where %I < $1',
    parent || '_default',
    case parent when 'completed_job' then 'completed_at' when 'job_attempt' then 'ended_at' else 'written_at' end)
  using before;
  return dropped;
end $$;

-- Who may read the history may not drop it: docs/roles.md says who gets these.
revoke execute on function mill.ensure_partitions(integer, date) from public;
revoke execute on function mill.drop_partitions(text, timestamptz) from public;

select mill.ensure_partitions(14);
