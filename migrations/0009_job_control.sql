-- Previews: code that runs without having been deployed. A version whose hash begins with p, which no path
-- ever means. It goes with history: its jobs' rows outlive it only if they ended long after they began.
alter table mill.script drop constraint script_hash_is_hex,
  add constraint script_hash_is_hex check (hash ~ '^[0-9a-fp][0-9a-f]{15}$');
alter table mill.flow drop constraint flow_hash_is_hex,
  add constraint flow_hash_is_hex check (hash ~ '^[0-9a-fp][0-9a-f]{15}$');
alter table mill.script_path add constraint script_path_is_no_preview check (hash < 'p');
alter table mill.flow_path add constraint flow_path_is_no_preview check (hash < 'p');
create index script_preview on mill.script (created_at) where hash >= 'p';
create index flow_preview on mill.flow (created_at) where hash >= 'p';

-- With its owner's rights: workers shall not delete what is deployed. Bounded: what is left over waits for
-- the next round. A version's created_at is at most a day older than the last job that began with it; the
-- code of a flow's steps is as old as the flow, and it is not known whose it is.
create function mill.drop_previews(before timestamptz, at_most integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  late    timestamptz := before - interval '1 day';
  gone    integer := 0;
  dropped integer;
begin
  -- The queue has no index for what comes then.
  if not exists (select from mill.script s where s.hash >= 'p' and s.created_at < late)
    and not exists (select from mill.flow f where f.hash >= 'p' and f.created_at < late)
  then
    return 0;
  end if;
  delete from mill.script where ctid = any (array(
    select s.ctid from mill.script s
    where s.hash >= 'p' and s.created_at < late
      and not exists (
        select from mill.queue q
        where q.workspace = s.workspace and q.script >= 'p' and (q.script = s.hash or q.is_flow)
          and q.submitted_at < before)
    limit at_most));
  get diagnostics dropped = row_count;
  gone := gone + dropped;
  delete from mill.flow where ctid = any (array(
    select f.ctid from mill.flow f
    where f.hash >= 'p' and f.created_at < late
      and not exists (select from mill.queue q where q.workspace = f.workspace and q.script = f.hash)
    limit at_most));
  get diagnostics dropped = row_count;
  return gone + dropped;
end $$;
revoke all on function mill.drop_previews(timestamptz, integer) from public;

-- What the steps of a flow tell each other while it runs: set_flow_user_state.
create table mill.flow_user_state (
  workspace text collate "C" not null,
  job       uuid not null,
  key       text collate "C" not null,
  value     json not null,
  set_at    timestamptz not null default now(),
  primary key (job, key)
);
create index flow_user_state_old on mill.flow_user_state (set_at);

-- How far a job says it is, in percent.
create table mill.job_progress (
  workspace text collate "C" not null,
  job       uuid not null primary key,
  percent   smallint not null,
  set_at    timestamptz not null default now()
) with (fillfactor = 50);
create index job_progress_old on mill.job_progress (set_at);
