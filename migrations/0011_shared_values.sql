-- Secrets, and what Windmill's documents of variables and resources say beside their values. A secret's value
-- is encrypted with the workspace's `secret_key`; `rest` is what was sent and has no column, as it was sent.
alter table mill.variable
  add column is_secret   boolean not null default false,
  -- "u/name" or "g/name": true may write, false may read, beside whom the path says
  add column extra_perms json not null default '{}',
  add column rest        json not null default '{}',
  add column edited_by   text,
  add column edited_at   timestamptz not null default now();

alter table mill.resource
  add column extra_perms json not null default '{}',
  add column rest        json not null default '{}',
  add column edited_by   text,
  add column edited_at   timestamptz not null default now();

create table mill.resource_type (
  workspace text collate "C" not null references mill.workspace (id) on delete cascade,
  name      text collate "C" not null,
  -- schema, description, format_extension …
  document  json not null default '{}',
  edited_by text not null,
  edited_at timestamptz not null default now(),
  primary key (workspace, name),
  constraint resource_type_name_is_a_word check (name ~ '^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$')
);

-- When something is to run. Nothing runs them yet.
create table mill.schedule (
  workspace   text collate "C" not null references mill.workspace (id) on delete cascade,
  path        text collate "C" not null,
  script_path text collate "C" not null,
  is_flow     boolean not null,
  enabled     boolean not null,
  -- the rest, as it was sent: schedule (six fields of cron), timezone, args …
  document    json not null,
  extra_perms json not null default '{}',
  edited_by   text not null,
  edited_at   timestamptz not null default now(),
  primary key (workspace, path)
);
