-- Flows: their versions, and what one that runs knows. A flow, and each of its bodies that runs (an
-- iteration, a branch), is a job like any other: a row in queue, and then one in completed_job.

alter table mill.queue
  add column is_flow boolean not null default false,
  -- of a flow: it is under way, and whoever claims it only looks; that needs no room in a Runner
  add column begun boolean not null default false,
  -- a step's parent is parent_job; the flow that somebody submitted is root_job
  add column root_job uuid,
  add column step text collate "C",
  add column iteration integer,
  add column flow_path text collate "C",
  -- of a flow: how deep it lies in others; of a step: how deep its parent does. Events are dealt with
  -- innermost first.
  add column depth smallint,
  -- what a flow's start differs in: a restart, a preprocessor
  add column start json,
  add column concurrency_window_s real,
  drop constraint queue_running_has_a_claim,
  -- A flow under way whose steps run elsewhere is running, and nobody holds it.
  add constraint queue_running_has_a_claim check (
    (claim is null) = (node is null)
    and (claim is null or running) and (claim is not null or is_flow or not running));

-- claim_woken_flows
create index queue_woken on mill.queue (tag, scheduled_for) where not running and begun;

-- What a flow that ends, or is cancelled, or is looked at, finds its open children by.
create index queue_children on mill.queue (parent_job) where parent_job is not null;

alter table mill.completed_job
  add column is_flow boolean not null default false,
  add column step text collate "C",
  add column iteration integer;

-- results.<id>, a loop's results in their order, a flow's status
create index completed_job_children on mill.completed_job (parent_job, step, iteration)
  where parent_job is not null;

-- Immutable versions, named by content.
create table mill.flow (
  workspace   text collate "C" not null references mill.workspace,
  hash        text collate "C" not null,
  version     bigint generated always as identity,
  path        text collate "C" not null,
  summary     text not null default '',
  description text not null default '',
  value       json not null,
  schema      json,
  tag         text collate "C" not null,
  dedicated   boolean not null default false,
  options     json not null default '{}',
  created_by  text not null,
  created_at  timestamptz not null default now(),
  primary key (workspace, hash),
  constraint flow_hash_is_hex check (hash ~ '^[0-9a-f]{16}$')
);
create unique index flow_version on mill.flow (version);

-- What a path means now.
create table mill.flow_path (
  workspace   text collate "C" not null,
  path        text collate "C" not null,
  hash        text collate "C" not null,
  deployed_by text not null,
  deployed_at timestamptz not null default now(),
  primary key (workspace, path),
  foreign key (workspace, hash) references mill.flow
);

-- One row a body that runs. Small, updated with every step in place: nothing in it grows.
create table mill.flow_run (
  id         uuid primary key,
  root       uuid not null,
  workspace  text collate "C" not null,
  flow       text collate "C" not null,
  body       text collate "C" not null,
  -- whose child it is, and which
  parent     uuid,
  step       text collate "C",
  iteration  integer,
  -- the runs around it in the same flow, nearest first
  chain      uuid[] not null,
  depth      smallint not null,
  -- what its flow_input has beside the flow's own: iter
  overlay    json not null,
  state      json not null,
  -- of the root: history is read from here on
  started_at timestamptz not null,
  -- what its scripts may take ends then, Unix seconds
  deadline   double precision,
  -- a sleep ends, an approval comes too late
  wake_at    timestamptz,
  -- a child ended without a worker, or somebody answered: look again before you rest
  woken      boolean not null default false,
  -- the step whose result whoever waits has been given
  early      text collate "C"
) with (
  fillfactor = 50,
  autovacuum_vacuum_scale_factor = 0.0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0
);

-- The bodies of a flow that one worker holds whole.
create index flow_run_of_root on mill.flow_run (root) where depth > 0;

-- A loop's items, in chunks: read one by one, and never all of them.
create table mill.flow_item (
  run   uuid not null,
  step  text collate "C" not null,
  chunk integer not null,
  items json not null,
  primary key (run, step, chunk)
);

-- Answers to approvals. `step` is the one that asked; null: the next one that asks.
create table mill.flow_resume (
  run         uuid not null,
  step        text collate "C",
  resume_id   bigint not null,
  approved    boolean not null,
  value       json not null,
  approver    text not null,
  answered_at timestamptz not null default now(),
  primary key (run, resume_id)
);

-- What `$var:` and `$res:` mean.
create table mill.variable (
  workspace   text collate "C" not null references mill.workspace,
  path        text collate "C" not null,
  value       text not null,
  description text not null default '',
  primary key (workspace, path)
);
create table mill.resource (
  workspace     text collate "C" not null references mill.workspace,
  path          text collate "C" not null,
  value         json not null,
  resource_type text collate "C" not null default 'any',
  description   text not null default '',
  primary key (workspace, path)
);

-- Results that may be used again (cache_ttl).
create table mill.result_cache (
  workspace  text collate "C" not null,
  key        bytea not null,
  result     json not null,
  expires_at timestamptz not null,
  primary key (workspace, key)
);
create index result_cache_expiring on mill.result_cache (expires_at);

-- Jobs whose arguments and result are to be deleted (delete_after_secs).
create table mill.deletion (
  job    uuid primary key,
  due_at timestamptz not null
);
create index deletion_due on mill.deletion (due_at);

-- A place under a concurrency key with a time window stays taken for a while after the job's end.
alter table mill.concurrency_slot add column frees_at timestamptz;
-- A step of a flow that is held whole has no row in queue: its flow has.
alter table mill.concurrency_slot add column flow uuid;
create index concurrency_slot_of_flow on mill.concurrency_slot (flow) where flow is not null;
create index concurrency_slot_freeing on mill.concurrency_slot (frees_at) where frees_at is not null;
alter table mill.concurrency_key add column window_s real not null default 0;

-- A partition that a flow under way may still read is not dropped.
create or replace function mill.drop_partitions(parent text, before timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
  child   text;
  dropped integer := 0;
begin
  if parent not in ('completed_job', 'job_attempt', 'job_log') then
    raise exception 'mill.drop_partitions: no such history: %', parent;
  end if;
  if parent = 'completed_job' then
    before := least(before, (select min(r.started_at) from mill.flow_run r));
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
