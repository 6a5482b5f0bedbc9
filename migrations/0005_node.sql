-- One row a node: the beat is all a living node writes, however many jobs it holds.
create table mill.node (
  id         uuid primary key,
  name       text not null,
  -- counts up; a node is dead when it has not changed for one lease of the watcher's own time
  beat       bigint not null default 0,
  beat_at    timestamptz not null default now(),
  started_at timestamptz not null default now(),
  stopping   boolean not null default false,
  -- tags its workers serve: how a job knows that nobody serves its own
  tags       text[] not null default '{}',
  workers    json not null default '[]'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 500);
