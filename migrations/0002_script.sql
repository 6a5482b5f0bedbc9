-- A script version never changes: its hash names path, language, content and options together.
create table mill.script (
  workspace  text collate "C" not null references mill.workspace (id),
  hash       text collate "C" not null,
  path       text collate "C" not null,
  language   text collate "C" not null,
  content    text not null,
  tag        text collate "C" not null,
  dedicated  boolean not null default false,
  -- timeout, retry, concurrency, priority: the options as the user wrote them
  options    json not null default '{}',
  created_by text not null,
  created_at timestamptz not null default now(),
  primary key (workspace, hash),
  constraint script_hash_is_hex check (hash ~ '^[0-9a-f]{16}$')
);

-- What a path means now. A job keeps the version its path meant when it was submitted.
create table mill.script_path (
  workspace   text collate "C" not null,
  path        text collate "C" not null,
  hash        text collate "C" not null,
  deployed_by text not null,
  deployed_at timestamptz not null default now(),
  primary key (workspace, path),
  foreign key (workspace, hash) references mill.script (workspace, hash)
);
