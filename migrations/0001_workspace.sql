-- A workspace is a tenant: every row belongs to one. Its key signs the WM_TOKEN of its jobs.
create table mill.workspace (
  id         text collate "C" primary key,
  token_key  bytea not null default sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea),
  created_at timestamptz not null default now(),
  constraint workspace_id_is_a_word check (id ~ '^[a-z0-9][a-z0-9_-]{0,49}$')
);

insert into mill.workspace (id) values ('default');
