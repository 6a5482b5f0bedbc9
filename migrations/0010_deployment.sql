-- Definitions as they were sent, and what each path has meant over time.

-- What a script's document says beside its path, language and code, word for word. What lists ask for has a
-- column of its own.
alter table mill.script
  add column rest        json not null default '{}',
  add column kind        text collate "C" not null default 'script',
  add column is_template boolean not null default false,
  add column labels      text[] not null default '{}';
alter table mill.flow add column labels text[] not null default '{}';

-- Each time a path began to mean another version. The last one is what it means now; or meant, if the path
-- has no row in script_path or flow_path any more: then it is archived.
create table mill.deployment (
  id          bigint generated always as identity primary key,
  workspace   text collate "C" not null references mill.workspace (id) on delete cascade,
  kind        text collate "C" not null,
  path        text collate "C" not null,
  hash        text collate "C" not null,
  message     text,
  deployed_by text not null,
  deployed_at timestamptz not null default now(),
  constraint deployment_kind check (kind in ('script', 'flow'))
);
create index deployment_path on mill.deployment (workspace, kind, path, id);
create index deployment_hash on mill.deployment (workspace, kind, hash, id);

-- Until now nobody wrote it down: versions are as old as their rows, and what a path means came last.
insert into mill.deployment (workspace, kind, path, hash, deployed_by, deployed_at)
select workspace, kind, path, hash, deployed_by, deployed_at
from (
  select p.workspace, 'script' as kind, p.path, p.hash, p.deployed_by, p.deployed_at, true as is_current
  from mill.script_path p
  union all
  select s.workspace, 'script', s.path, s.hash, s.created_by, s.created_at, false
  from mill.script_path p
  join mill.script s on s.workspace = p.workspace and s.path = p.path and s.hash <> p.hash
  union all
  select p.workspace, 'flow', p.path, p.hash, p.deployed_by, p.deployed_at, true
  from mill.flow_path p
  union all
  select f.workspace, 'flow', f.path, f.hash, f.created_by, f.created_at, false
  from mill.flow_path p
  join mill.flow f on f.workspace = p.workspace and f.path = p.path and f.hash <> p.hash
) d
order by is_current, deployed_at;
