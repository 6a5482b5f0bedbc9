-- Who may do what. An account is a person or a machine, everywhere; a member is what it is called in a
-- workspace, and what it may do there. Paths say who owns what: `u/NAME/…` its member, `f/FOLDER/…` whoever
-- the folder names.
create table mill.account (
  email         text primary key,
  name          text,
  is_superadmin boolean not null default false,
  password      text,
  created_at    timestamptz not null default now()
);

create table mill.member (
  workspace  text collate "C" not null references mill.workspace (id) on delete cascade,
  username   text collate "C" not null,
  email      text not null references mill.account (email) on delete cascade,
  role       text not null default 'developer',
  disabled   boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (workspace, username),
  unique (workspace, email),
  constraint member_role check (role in ('admin', 'developer', 'operator')),
  constraint member_username_is_a_word check (username ~ '^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,49}$')
);

-- Of a token only the hash is kept, and its first letters, to tell it from others.
create table mill.token (
  hash         bytea primary key,
  prefix       text not null,
  email        text not null references mill.account (email) on delete cascade,
  workspace    text collate "C" references mill.workspace (id) on delete cascade,
  label        text,
  scopes       text[],
  expires_at   timestamptz,
  created_at   timestamptz not null default now(),
  last_used_at timestamptz not null default now()
);
create index token_email on mill.token (email, created_at);

create table mill.folder (
  workspace   text collate "C" not null references mill.workspace (id) on delete cascade,
  name        text collate "C" not null,
  owners      text[] not null default '{}',
  -- "u/name" or "g/name": true may write, false may read
  extra_perms json not null default '{}',
  -- what else was sent, and is sent back: summary, display_name …
  rest        json not null default '{}',
  created_by  text not null,
  edited_at   timestamptz not null default now(),
  primary key (workspace, name),
  constraint folder_name_is_a_word check (name ~ '^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$')
);

create table mill.user_group (
  workspace  text collate "C" not null references mill.workspace (id) on delete cascade,
  name       text collate "C" not null,
  summary    text not null default '',
  members    text[] not null default '{}',
  admins     text[] not null default '{}',
  primary key (workspace, name),
  constraint user_group_name_is_a_word check (name ~ '^[a-zA-Z0-9_][a-zA-Z0-9_-]{0,254}$')
);

create table mill.audit (
  id         bigint generated always as identity primary key,
  at         timestamptz not null default now(),
  workspace  text collate "C" not null,
  username   text not null,
  operation  text not null,
  action     text not null,
  resource   text,
  parameters json
);
create index audit_workspace on mill.audit (workspace, at desc);

alter table mill.workspace add column name text;
alter table mill.workspace add column owner text;
-- Encrypts the workspace's secrets.
alter table mill.workspace add column secret_key bytea not null
  default sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea);

insert into mill.account (email, name, is_superadmin) values ('admin@localhost', 'Admin', true);
insert into mill.member (workspace, username, email, role)
  select id, 'admin', 'admin@localhost', 'admin' from mill.workspace;
