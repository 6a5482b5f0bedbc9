-- What is not finished. One row a job, whatever happens to it: claim, retry, cancel and rescue
-- are updates of the row, and the finish moves it to completed_job.
create table mill.queue (
  id                  uuid not null,
  workspace           text collate "C" not null,
  path                text collate "C" not null,
  script              text collate "C" not null,
  tag                 text collate "C" not null,
  priority            smallint not null default 0,
  submitted_at        timestamptz not null default now(),
  scheduled_for       timestamptz not null default now(),
  args                json not null,
  args_bytes          integer not null,
  created_by          text not null,
  -- the user's retry count, starting at 1; a rescue does not consume it
  attempt             smallint not null default 1,
  rescues             smallint not null default 0,
  -- false while the job waits for a slot of its concurrency key
  admitted            boolean not null default true,
  running             boolean not null default false,
  -- somebody waits for the result: the settle rings mill_settled with the id
  awaited             boolean not null default false,
  claim               uuid,
  node                uuid,
  worker              text,
  claimed_at          timestamptz,
  expires_at          timestamptz,
  timeout_seconds     real,
  retry               json,
  parent_job          uuid,
  concurrency_key     text collate "C",
  concurrency_limit   integer,
  cancel_requested_at timestamptz,
  cancelled_by        text,
  cancel_reason       text,
  primary key (id),
  constraint queue_running_has_a_claim check (running = (claim is not null and node is not null)),
  constraint queue_running_is_admitted check (admitted or not running),
  constraint queue_priority_range check (priority between 0 and 100)
) with (
  -- The queue lives on being vacuumed: small, often, and without pauses.
  autovacuum_vacuum_scale_factor = 0.0,
  autovacuum_vacuum_threshold = 10000,
  autovacuum_vacuum_insert_scale_factor = 0.0,
  autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_scale_factor = 0.0,
  autovacuum_analyze_threshold = 50000,
  autovacuum_vacuum_cost_delay = 0
);

-- claim_jobs: the order of the claim within one (tag, priority)
create index queue_claimable on mill.queue (tag, priority desc, scheduled_for, id)
  where not running and admitted;
-- rescue, reconciliation: what a node holds
create index queue_held on mill.queue (node) where running;
-- expire_jobs
create index queue_expiring on mill.queue (expires_at) where expires_at is not null and not running;
-- beat: cancels a node has not heard of
create index queue_cancelling on mill.queue (node) where running and cancel_requested_at is not null;
-- admit_jobs: the order of admission within one concurrency key
create index queue_waiting_for_slot on mill.queue (workspace, concurrency_key, priority desc, scheduled_for, id)
  where not admitted;

-- One row a concurrency key: its lock orders admissions, so that the limit is exact.
create table mill.concurrency_key (
  workspace   text collate "C" not null,
  key         text collate "C" not null,
  max_running integer not null,
  primary key (workspace, key),
  constraint concurrency_key_limit_is_positive check (max_running > 0)
);

-- One row a job that holds a place under its key.
create table mill.concurrency_slot (
  workspace text collate "C" not null,
  key       text collate "C" not null,
  job       uuid not null,
  primary key (workspace, key, job)
);
create index concurrency_slot_of_job on mill.concurrency_slot (job);

-- Idempotency across queue, in hand and history; ids chosen by clients are keys too.
create table mill.submission_key (
  workspace  text collate "C" not null,
  key        text collate "C" not null,
  job        uuid not null,
  args_hash  bytea not null,
  expires_at timestamptz not null,
  primary key (workspace, key)
);
create index submission_key_expiring on mill.submission_key (expires_at);
