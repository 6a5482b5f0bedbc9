-- Made by `make schema` from the migrations, with PostgreSQL 18; not to be edited.

CREATE SCHEMA mill;

CREATE FUNCTION mill.drop_partitions(parent text, before timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $_$
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
end $_$;

CREATE FUNCTION mill.drop_previews(before timestamp with time zone, at_most integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

CREATE FUNCTION mill.ensure_partitions(days_ahead integer, today date DEFAULT CURRENT_DATE) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '200ms'
    AS $$
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

CREATE TABLE mill.account (
    email text NOT NULL,
    name text,
    is_superadmin boolean DEFAULT false NOT NULL,
    password text,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.audit (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    username text NOT NULL,
    operation text NOT NULL,
    action text NOT NULL,
    resource text,
    parameters json
);

ALTER TABLE mill.audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mill.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE mill.completed_job (
    id uuid NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    script text NOT NULL COLLATE pg_catalog."C",
    tag text NOT NULL COLLATE pg_catalog."C",
    priority smallint NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    submitted_at timestamp with time zone NOT NULL,
    scheduled_for timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone NOT NULL,
    duration_us bigint,
    args json NOT NULL,
    result json,
    created_by text NOT NULL,
    worker text,
    attempt smallint NOT NULL,
    rescues smallint NOT NULL,
    parent_job uuid,
    cancelled_by text,
    cancel_reason text,
    is_flow boolean DEFAULT false NOT NULL,
    step text COLLATE pg_catalog."C",
    iteration integer,
    CONSTRAINT completed_job_status CHECK ((status = ANY (ARRAY['success'::text, 'failure'::text, 'cancelled'::text, 'skipped'::text])))
)
PARTITION BY RANGE (completed_at);

CREATE TABLE mill.completed_job_default (
    id uuid CONSTRAINT completed_job_id_not_null NOT NULL,
    workspace text CONSTRAINT completed_job_workspace_not_null NOT NULL COLLATE pg_catalog."C",
    path text CONSTRAINT completed_job_path_not_null NOT NULL COLLATE pg_catalog."C",
    script text CONSTRAINT completed_job_script_not_null NOT NULL COLLATE pg_catalog."C",
    tag text CONSTRAINT completed_job_tag_not_null NOT NULL COLLATE pg_catalog."C",
    priority smallint CONSTRAINT completed_job_priority_not_null NOT NULL,
    status text CONSTRAINT completed_job_status_not_null NOT NULL COLLATE pg_catalog."C",
    submitted_at timestamp with time zone CONSTRAINT completed_job_submitted_at_not_null NOT NULL,
    scheduled_for timestamp with time zone CONSTRAINT completed_job_scheduled_for_not_null NOT NULL,
    started_at timestamp with time zone,
    completed_at timestamp with time zone CONSTRAINT completed_job_completed_at_not_null NOT NULL,
    duration_us bigint,
    args json CONSTRAINT completed_job_args_not_null NOT NULL,
    result json,
    created_by text CONSTRAINT completed_job_created_by_not_null NOT NULL,
    worker text,
    attempt smallint CONSTRAINT completed_job_attempt_not_null NOT NULL,
    rescues smallint CONSTRAINT completed_job_rescues_not_null NOT NULL,
    parent_job uuid,
    cancelled_by text,
    cancel_reason text,
    is_flow boolean DEFAULT false CONSTRAINT completed_job_is_flow_not_null NOT NULL,
    step text COLLATE pg_catalog."C",
    iteration integer,
    CONSTRAINT completed_job_status CHECK ((status = ANY (ARRAY['success'::text, 'failure'::text, 'cancelled'::text, 'skipped'::text])))
);

CREATE TABLE mill.concurrency_key (
    workspace text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    max_running integer NOT NULL,
    window_s real DEFAULT 0 NOT NULL,
    CONSTRAINT concurrency_key_limit_is_positive CHECK ((max_running > 0))
);

CREATE TABLE mill.concurrency_slot (
    workspace text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    job uuid NOT NULL,
    frees_at timestamp with time zone,
    flow uuid
);

CREATE TABLE mill.deletion (
    job uuid NOT NULL,
    due_at timestamp with time zone NOT NULL
);

CREATE TABLE mill.deployment (
    id bigint NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    message text,
    deployed_by text NOT NULL,
    deployed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT deployment_kind CHECK ((kind = ANY (ARRAY['script'::text, 'flow'::text])))
);

ALTER TABLE mill.deployment ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mill.deployment_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE mill.flow (
    workspace text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    path text NOT NULL COLLATE pg_catalog."C",
    summary text DEFAULT ''::text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    value json NOT NULL,
    schema json,
    tag text NOT NULL COLLATE pg_catalog."C",
    dedicated boolean DEFAULT false NOT NULL,
    options json DEFAULT '{}'::json NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rest json DEFAULT '{}'::json NOT NULL,
    labels text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT flow_hash_is_hex CHECK ((hash ~ '^[0-9a-fp][0-9a-f]{15}$'::text))
);

CREATE TABLE mill.flow_item (
    run uuid NOT NULL,
    step text NOT NULL COLLATE pg_catalog."C",
    chunk integer NOT NULL,
    items json NOT NULL
);

CREATE TABLE mill.flow_path (
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    deployed_by text NOT NULL,
    deployed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT flow_path_is_no_preview CHECK ((hash < 'p'::text))
);

CREATE TABLE mill.flow_resume (
    run uuid NOT NULL,
    step text COLLATE pg_catalog."C",
    resume_id bigint NOT NULL,
    approved boolean NOT NULL,
    value json NOT NULL,
    approver text NOT NULL,
    answered_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.flow_run (
    id uuid NOT NULL,
    root uuid NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    flow text NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL COLLATE pg_catalog."C",
    parent uuid,
    step text COLLATE pg_catalog."C",
    iteration integer,
    chain uuid[] NOT NULL,
    depth smallint NOT NULL,
    "overlay" json NOT NULL,
    state json NOT NULL,
    started_at timestamp with time zone NOT NULL,
    deadline double precision,
    wake_at timestamp with time zone,
    woken boolean DEFAULT false NOT NULL,
    early text COLLATE pg_catalog."C"
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE mill.flow_user_state (
    workspace text NOT NULL COLLATE pg_catalog."C",
    job uuid NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    value json NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE mill.flow ALTER COLUMN version ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME mill.flow_version_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE mill.folder (
    workspace text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    owners text[] DEFAULT '{}'::text[] NOT NULL,
    extra_perms json DEFAULT '{}'::json NOT NULL,
    rest json DEFAULT '{}'::json NOT NULL,
    created_by text NOT NULL,
    edited_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT folder_name_is_a_word CHECK ((name ~ '^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$'::text))
);

CREATE TABLE mill.job_attempt (
    job uuid NOT NULL,
    attempt smallint NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    worker text NOT NULL,
    error json NOT NULL
)
PARTITION BY RANGE (ended_at);

CREATE TABLE mill.job_attempt_default (
    job uuid CONSTRAINT job_attempt_job_not_null NOT NULL,
    attempt smallint CONSTRAINT job_attempt_attempt_not_null NOT NULL,
    workspace text CONSTRAINT job_attempt_workspace_not_null NOT NULL COLLATE pg_catalog."C",
    started_at timestamp with time zone CONSTRAINT job_attempt_started_at_not_null NOT NULL,
    ended_at timestamp with time zone CONSTRAINT job_attempt_ended_at_not_null NOT NULL,
    worker text CONSTRAINT job_attempt_worker_not_null NOT NULL,
    error json CONSTRAINT job_attempt_error_not_null NOT NULL
);

CREATE TABLE mill.job_log (
    job uuid NOT NULL,
    "position" bigint NOT NULL,
    attempt smallint NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    written_at timestamp with time zone NOT NULL,
    text text NOT NULL
)
PARTITION BY RANGE (written_at);

CREATE TABLE mill.job_log_default (
    job uuid CONSTRAINT job_log_job_not_null NOT NULL,
    "position" bigint CONSTRAINT job_log_position_not_null NOT NULL,
    attempt smallint CONSTRAINT job_log_attempt_not_null NOT NULL,
    workspace text CONSTRAINT job_log_workspace_not_null NOT NULL COLLATE pg_catalog."C",
    written_at timestamp with time zone CONSTRAINT job_log_written_at_not_null NOT NULL,
    text text CONSTRAINT job_log_text_not_null NOT NULL
);

CREATE TABLE mill.job_progress (
    workspace text NOT NULL COLLATE pg_catalog."C",
    job uuid NOT NULL,
    percent smallint NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE mill.member (
    workspace text NOT NULL COLLATE pg_catalog."C",
    username text NOT NULL COLLATE pg_catalog."C",
    email text NOT NULL,
    role text DEFAULT 'developer'::text NOT NULL,
    disabled boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT member_role CHECK ((role = ANY (ARRAY['admin'::text, 'developer'::text, 'operator'::text]))),
    CONSTRAINT member_username_is_a_word CHECK ((username ~ '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,49}$'::text))
);

CREATE TABLE mill.migration (
    version integer NOT NULL,
    name text NOT NULL,
    breaking boolean NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.node (
    id uuid NOT NULL,
    name text NOT NULL,
    beat bigint DEFAULT 0 NOT NULL,
    beat_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    stopping boolean DEFAULT false NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    workers json DEFAULT '[]'::json NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='500');

CREATE TABLE mill.queue (
    id uuid NOT NULL,
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    script text NOT NULL COLLATE pg_catalog."C",
    tag text NOT NULL COLLATE pg_catalog."C",
    priority smallint DEFAULT 0 NOT NULL,
    submitted_at timestamp with time zone DEFAULT now() NOT NULL,
    scheduled_for timestamp with time zone DEFAULT now() NOT NULL,
    args json NOT NULL,
    args_bytes integer NOT NULL,
    created_by text NOT NULL,
    attempt smallint DEFAULT 1 NOT NULL,
    rescues smallint DEFAULT 0 NOT NULL,
    admitted boolean DEFAULT true NOT NULL,
    running boolean DEFAULT false NOT NULL,
    awaited boolean DEFAULT false NOT NULL,
    claim uuid,
    node uuid,
    worker text,
    claimed_at timestamp with time zone,
    expires_at timestamp with time zone,
    timeout_seconds real,
    retry json,
    parent_job uuid,
    concurrency_key text COLLATE pg_catalog."C",
    concurrency_limit integer,
    cancel_requested_at timestamp with time zone,
    cancelled_by text,
    cancel_reason text,
    is_flow boolean DEFAULT false NOT NULL,
    begun boolean DEFAULT false NOT NULL,
    root_job uuid,
    step text COLLATE pg_catalog."C",
    iteration integer,
    flow_path text COLLATE pg_catalog."C",
    depth smallint,
    start json,
    concurrency_window_s real,
    CONSTRAINT queue_priority_range CHECK (((priority >= 0) AND (priority <= 100))),
    CONSTRAINT queue_running_has_a_claim CHECK ((((claim IS NULL) = (node IS NULL)) AND ((claim IS NULL) OR running) AND ((claim IS NOT NULL) OR is_flow OR (NOT running)))),
    CONSTRAINT queue_running_is_admitted CHECK ((admitted OR (NOT running)))
)
WITH (autovacuum_vacuum_scale_factor='0.0', autovacuum_vacuum_threshold='10000', autovacuum_vacuum_insert_scale_factor='0.0', autovacuum_vacuum_insert_threshold='100000', autovacuum_analyze_scale_factor='0.0', autovacuum_analyze_threshold='50000', autovacuum_vacuum_cost_delay='0');

CREATE TABLE mill.resource (
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    value json NOT NULL,
    resource_type text DEFAULT 'any'::text NOT NULL COLLATE pg_catalog."C",
    description text DEFAULT ''::text NOT NULL,
    extra_perms json DEFAULT '{}'::json NOT NULL,
    rest json DEFAULT '{}'::json NOT NULL,
    edited_by text,
    edited_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.resource_type (
    workspace text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    document json DEFAULT '{}'::json NOT NULL,
    edited_by text NOT NULL,
    edited_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT resource_type_name_is_a_word CHECK ((name ~ '^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$'::text))
);

CREATE TABLE mill.result_cache (
    workspace text NOT NULL COLLATE pg_catalog."C",
    key bytea NOT NULL,
    result json NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE mill.schedule (
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    script_path text NOT NULL COLLATE pg_catalog."C",
    is_flow boolean NOT NULL,
    enabled boolean NOT NULL,
    document json NOT NULL,
    extra_perms json DEFAULT '{}'::json NOT NULL,
    edited_by text NOT NULL,
    edited_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.script (
    workspace text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    language text NOT NULL COLLATE pg_catalog."C",
    content text NOT NULL,
    tag text NOT NULL COLLATE pg_catalog."C",
    dedicated boolean DEFAULT false NOT NULL,
    options json DEFAULT '{}'::json NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    rest json DEFAULT '{}'::json NOT NULL,
    kind text DEFAULT 'script'::text NOT NULL COLLATE pg_catalog."C",
    is_template boolean DEFAULT false NOT NULL,
    labels text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT script_hash_is_hex CHECK ((hash ~ '^[0-9a-fp][0-9a-f]{15}$'::text))
);

CREATE TABLE mill.script_path (
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    deployed_by text NOT NULL,
    deployed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT script_path_is_no_preview CHECK ((hash < 'p'::text))
);

CREATE TABLE mill.submission_key (
    workspace text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    job uuid NOT NULL,
    args_hash bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

CREATE TABLE mill.token (
    hash bytea NOT NULL,
    prefix text NOT NULL,
    email text NOT NULL,
    workspace text COLLATE pg_catalog."C",
    label text,
    scopes text[],
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.user_group (
    workspace text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    summary text DEFAULT ''::text NOT NULL,
    members text[] DEFAULT '{}'::text[] NOT NULL,
    admins text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT user_group_name_is_a_word CHECK ((name ~ '^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$'::text))
);

CREATE TABLE mill.variable (
    workspace text NOT NULL COLLATE pg_catalog."C",
    path text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    is_secret boolean DEFAULT false NOT NULL,
    extra_perms json DEFAULT '{}'::json NOT NULL,
    rest json DEFAULT '{}'::json NOT NULL,
    edited_by text,
    edited_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE mill.workspace (
    id text NOT NULL COLLATE pg_catalog."C",
    token_key bytea DEFAULT sha256((((gen_random_uuid())::text || (gen_random_uuid())::text))::bytea) NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    name text,
    owner text,
    secret_key bytea DEFAULT sha256((((gen_random_uuid())::text || (gen_random_uuid())::text))::bytea) NOT NULL,
    CONSTRAINT workspace_id_is_a_word CHECK ((id ~ '^[a-z0-9][a-z0-9_-]{0,49}$'::text))
);

ALTER TABLE ONLY mill.completed_job ATTACH PARTITION mill.completed_job_default DEFAULT;

ALTER TABLE ONLY mill.job_attempt ATTACH PARTITION mill.job_attempt_default DEFAULT;

ALTER TABLE ONLY mill.job_log ATTACH PARTITION mill.job_log_default DEFAULT;

ALTER TABLE ONLY mill.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (email);

ALTER TABLE ONLY mill.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY mill.completed_job
    ADD CONSTRAINT completed_job_pkey PRIMARY KEY (id, completed_at);

ALTER TABLE ONLY mill.completed_job_default
    ADD CONSTRAINT completed_job_default_pkey PRIMARY KEY (id, completed_at);

ALTER TABLE ONLY mill.concurrency_key
    ADD CONSTRAINT concurrency_key_pkey PRIMARY KEY (workspace, key);

ALTER TABLE ONLY mill.concurrency_slot
    ADD CONSTRAINT concurrency_slot_pkey PRIMARY KEY (workspace, key, job);

ALTER TABLE ONLY mill.deletion
    ADD CONSTRAINT deletion_pkey PRIMARY KEY (job);

ALTER TABLE ONLY mill.deployment
    ADD CONSTRAINT deployment_pkey PRIMARY KEY (id);

ALTER TABLE ONLY mill.flow_item
    ADD CONSTRAINT flow_item_pkey PRIMARY KEY (run, step, chunk);

ALTER TABLE ONLY mill.flow_path
    ADD CONSTRAINT flow_path_pkey PRIMARY KEY (workspace, path);

ALTER TABLE ONLY mill.flow
    ADD CONSTRAINT flow_pkey PRIMARY KEY (workspace, hash);

ALTER TABLE ONLY mill.flow_resume
    ADD CONSTRAINT flow_resume_pkey PRIMARY KEY (run, resume_id);

ALTER TABLE ONLY mill.flow_run
    ADD CONSTRAINT flow_run_pkey PRIMARY KEY (id);

ALTER TABLE ONLY mill.flow_user_state
    ADD CONSTRAINT flow_user_state_pkey PRIMARY KEY (job, key);

ALTER TABLE ONLY mill.folder
    ADD CONSTRAINT folder_pkey PRIMARY KEY (workspace, name);

ALTER TABLE ONLY mill.job_attempt
    ADD CONSTRAINT job_attempt_pkey PRIMARY KEY (job, attempt, ended_at);

ALTER TABLE ONLY mill.job_attempt_default
    ADD CONSTRAINT job_attempt_default_pkey PRIMARY KEY (job, attempt, ended_at);

ALTER TABLE ONLY mill.job_log
    ADD CONSTRAINT job_log_pkey PRIMARY KEY (job, attempt, "position", written_at);

ALTER TABLE ONLY mill.job_log_default
    ADD CONSTRAINT job_log_default_pkey PRIMARY KEY (job, attempt, "position", written_at);

ALTER TABLE ONLY mill.job_progress
    ADD CONSTRAINT job_progress_pkey PRIMARY KEY (job);

ALTER TABLE ONLY mill.member
    ADD CONSTRAINT member_pkey PRIMARY KEY (workspace, username);

ALTER TABLE ONLY mill.member
    ADD CONSTRAINT member_workspace_email_key UNIQUE (workspace, email);

ALTER TABLE ONLY mill.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (version);

ALTER TABLE ONLY mill.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (id);

ALTER TABLE ONLY mill.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (id);

ALTER TABLE ONLY mill.resource
    ADD CONSTRAINT resource_pkey PRIMARY KEY (workspace, path);

ALTER TABLE ONLY mill.resource_type
    ADD CONSTRAINT resource_type_pkey PRIMARY KEY (workspace, name);

ALTER TABLE ONLY mill.result_cache
    ADD CONSTRAINT result_cache_pkey PRIMARY KEY (workspace, key);

ALTER TABLE ONLY mill.schedule
    ADD CONSTRAINT schedule_pkey PRIMARY KEY (workspace, path);

ALTER TABLE ONLY mill.script_path
    ADD CONSTRAINT script_path_pkey PRIMARY KEY (workspace, path);

ALTER TABLE ONLY mill.script
    ADD CONSTRAINT script_pkey PRIMARY KEY (workspace, hash);

ALTER TABLE ONLY mill.submission_key
    ADD CONSTRAINT submission_key_pkey PRIMARY KEY (workspace, key);

ALTER TABLE ONLY mill.token
    ADD CONSTRAINT token_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY mill.user_group
    ADD CONSTRAINT user_group_pkey PRIMARY KEY (workspace, name);

ALTER TABLE ONLY mill.variable
    ADD CONSTRAINT variable_pkey PRIMARY KEY (workspace, path);

ALTER TABLE ONLY mill.workspace
    ADD CONSTRAINT workspace_pkey PRIMARY KEY (id);

CREATE INDEX audit_workspace ON mill.audit USING btree (workspace, at DESC);

CREATE INDEX completed_job_children ON ONLY mill.completed_job USING btree (parent_job, step, iteration) WHERE (parent_job IS NOT NULL);

CREATE INDEX completed_job_default_parent_job_step_iteration_idx ON mill.completed_job_default USING btree (parent_job, step, iteration) WHERE (parent_job IS NOT NULL);

CREATE INDEX completed_job_listing ON ONLY mill.completed_job USING btree (workspace, completed_at);

CREATE INDEX completed_job_default_workspace_completed_at_idx ON mill.completed_job_default USING btree (workspace, completed_at);

CREATE INDEX concurrency_slot_freeing ON mill.concurrency_slot USING btree (frees_at) WHERE (frees_at IS NOT NULL);

CREATE INDEX concurrency_slot_of_flow ON mill.concurrency_slot USING btree (flow) WHERE (flow IS NOT NULL);

CREATE INDEX concurrency_slot_of_job ON mill.concurrency_slot USING btree (job);

CREATE INDEX deletion_due ON mill.deletion USING btree (due_at);

CREATE INDEX deployment_hash ON mill.deployment USING btree (workspace, kind, hash, id);

CREATE INDEX deployment_path ON mill.deployment USING btree (workspace, kind, path, id);

CREATE INDEX flow_preview ON mill.flow USING btree (created_at) WHERE (hash >= 'p'::text);

CREATE INDEX flow_run_of_root ON mill.flow_run USING btree (root) WHERE (depth > 0);

CREATE INDEX flow_user_state_old ON mill.flow_user_state USING btree (set_at);

CREATE UNIQUE INDEX flow_version ON mill.flow USING btree (version);

CREATE INDEX job_progress_old ON mill.job_progress USING btree (set_at);

CREATE INDEX queue_cancelling ON mill.queue USING btree (node) WHERE (running AND (cancel_requested_at IS NOT NULL));

CREATE INDEX queue_children ON mill.queue USING btree (parent_job) WHERE (parent_job IS NOT NULL);

CREATE INDEX queue_claimable ON mill.queue USING btree (tag, priority DESC, scheduled_for, id) WHERE ((NOT running) AND admitted);

CREATE INDEX queue_expiring ON mill.queue USING btree (expires_at) WHERE ((expires_at IS NOT NULL) AND (NOT running));

CREATE INDEX queue_held ON mill.queue USING btree (node) WHERE running;

CREATE INDEX queue_waiting_for_slot ON mill.queue USING btree (workspace, concurrency_key, priority DESC, scheduled_for, id) WHERE (NOT admitted);

CREATE INDEX queue_woken ON mill.queue USING btree (tag, scheduled_for) WHERE ((NOT running) AND begun);

CREATE INDEX result_cache_expiring ON mill.result_cache USING btree (expires_at);

CREATE INDEX script_preview ON mill.script USING btree (created_at) WHERE (hash >= 'p'::text);

CREATE INDEX submission_key_expiring ON mill.submission_key USING btree (expires_at);

CREATE INDEX token_email ON mill.token USING btree (email, created_at);

ALTER INDEX mill.completed_job_children ATTACH PARTITION mill.completed_job_default_parent_job_step_iteration_idx;

ALTER INDEX mill.completed_job_pkey ATTACH PARTITION mill.completed_job_default_pkey;

ALTER INDEX mill.completed_job_listing ATTACH PARTITION mill.completed_job_default_workspace_completed_at_idx;

ALTER INDEX mill.job_attempt_pkey ATTACH PARTITION mill.job_attempt_default_pkey;

ALTER INDEX mill.job_log_pkey ATTACH PARTITION mill.job_log_default_pkey;

ALTER TABLE ONLY mill.deployment
    ADD CONSTRAINT deployment_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.flow_path
    ADD CONSTRAINT flow_path_workspace_hash_fkey FOREIGN KEY (workspace, hash) REFERENCES mill.flow(workspace, hash);

ALTER TABLE ONLY mill.flow
    ADD CONSTRAINT flow_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id);

ALTER TABLE ONLY mill.folder
    ADD CONSTRAINT folder_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.member
    ADD CONSTRAINT member_email_fkey FOREIGN KEY (email) REFERENCES mill.account(email) ON DELETE CASCADE;

ALTER TABLE ONLY mill.member
    ADD CONSTRAINT member_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.resource_type
    ADD CONSTRAINT resource_type_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.resource
    ADD CONSTRAINT resource_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id);

ALTER TABLE ONLY mill.schedule
    ADD CONSTRAINT schedule_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.script_path
    ADD CONSTRAINT script_path_workspace_hash_fkey FOREIGN KEY (workspace, hash) REFERENCES mill.script(workspace, hash);

ALTER TABLE ONLY mill.script
    ADD CONSTRAINT script_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id);

ALTER TABLE ONLY mill.token
    ADD CONSTRAINT token_email_fkey FOREIGN KEY (email) REFERENCES mill.account(email) ON DELETE CASCADE;

ALTER TABLE ONLY mill.token
    ADD CONSTRAINT token_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.user_group
    ADD CONSTRAINT user_group_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id) ON DELETE CASCADE;

ALTER TABLE ONLY mill.variable
    ADD CONSTRAINT variable_workspace_fkey FOREIGN KEY (workspace) REFERENCES mill.workspace(id);

REVOKE ALL ON FUNCTION mill.drop_partitions(parent text, before timestamp with time zone) FROM PUBLIC;

REVOKE ALL ON FUNCTION mill.drop_previews(before timestamp with time zone, at_most integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION mill.ensure_partitions(days_ahead integer, today date) FROM PUBLIC;
