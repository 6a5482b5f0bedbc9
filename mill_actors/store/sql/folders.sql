-- Folders, groups, and the rights that single items have beside those of their path.

-- name: list_folders
select f.name, f.owners, f.extra_perms, f.rest, f.created_by, f.edited_at
from mill.folder f
where f.workspace = %(workspace)s and (%(name)s::text is null or f.name = %(name)s)
order by f.name;

-- name: lock_folder
select f.name, f.owners, f.extra_perms, f.rest, f.created_by, f.edited_at
from mill.folder f
where f.workspace = %(workspace)s and f.name = %(name)s
for update;

-- name: create_folder
insert into mill.folder (workspace, name, owners, extra_perms, rest, created_by)
values (%(workspace)s, %(name)s, %(owners)s, %(extra_perms)s::json, %(rest)s::json, %(created_by)s)
on conflict (workspace, name) do nothing
returning name;

-- name: update_folder
update mill.folder f
set owners = %(owners)s, extra_perms = %(extra_perms)s::json, rest = %(rest)s::json, edited_at = now()
where f.workspace = %(workspace)s and f.name = %(name)s;

-- name: delete_folder
delete from mill.folder f where f.workspace = %(workspace)s and f.name = %(name)s returning f.name;

-- name: folder_is_used
-- Whoever makes a folder owns what is in it already, and what has been: the history of scripts and flows
-- tells of those that are archived. `prefix` is f/NAME/, `after` what sorts next after all that begin so.
select exists (select from mill.deployment d
               where d.workspace = %(workspace)s and d.kind = 'script'
                 and d.path >= %(prefix)s and d.path < %(after)s)
  or exists (select from mill.deployment d
             where d.workspace = %(workspace)s and d.kind = 'flow'
               and d.path >= %(prefix)s and d.path < %(after)s)
  or exists (select from mill.script_path p
             where p.workspace = %(workspace)s and p.path >= %(prefix)s and p.path < %(after)s)
  or exists (select from mill.flow_path p
             where p.workspace = %(workspace)s and p.path >= %(prefix)s and p.path < %(after)s)
  or exists (select from mill.variable v
             where v.workspace = %(workspace)s and v.path >= %(prefix)s and v.path < %(after)s)
  or exists (select from mill.resource r
             where r.workspace = %(workspace)s and r.path >= %(prefix)s and r.path < %(after)s)
  or exists (select from mill.schedule s
             where s.workspace = %(workspace)s and s.path >= %(prefix)s and s.path < %(after)s);

-- name: list_groups
select g.name, g.summary, g.members, g.admins
from mill.user_group g
where g.workspace = %(workspace)s and (%(name)s::text is null or g.name = %(name)s)
order by g.name;

-- name: lock_group
select g.name, g.summary, g.members, g.admins
from mill.user_group g
where g.workspace = %(workspace)s and g.name = %(name)s
for update;

-- name: create_group
insert into mill.user_group (workspace, name, summary, members, admins)
values (%(workspace)s, %(name)s, %(summary)s, %(members)s, %(admins)s)
on conflict (workspace, name) do nothing
returning name;

-- name: update_group
update mill.user_group g set summary = %(summary)s, members = %(members)s, admins = %(admins)s
where g.workspace = %(workspace)s and g.name = %(name)s;

-- name: delete_group
-- Out of folders and single things too: a group of the same name is another one.
with gone as (
  delete from mill.user_group g where g.workspace = %(workspace)s and g.name = %(name)s returning g.name
), left_folders as (
  update mill.folder f
  set owners = array_remove(f.owners, 'g/' || %(name)s),
    extra_perms = (f.extra_perms::jsonb - ('g/' || %(name)s))::json
  where f.workspace = %(workspace)s
    and ('g/' || %(name)s = any (f.owners) or f.extra_perms::jsonb ? ('g/' || %(name)s))
), left_variables as (
  update mill.variable i set extra_perms = (i.extra_perms::jsonb - ('g/' || %(name)s))::json
  where i.workspace = %(workspace)s and i.extra_perms::jsonb ? ('g/' || %(name)s)
), left_resources as (
  update mill.resource i set extra_perms = (i.extra_perms::jsonb - ('g/' || %(name)s))::json
  where i.workspace = %(workspace)s and i.extra_perms::jsonb ? ('g/' || %(name)s)
), left_schedules as (
  update mill.schedule i set extra_perms = (i.extra_perms::jsonb - ('g/' || %(name)s))::json
  where i.workspace = %(workspace)s and i.extra_perms::jsonb ? ('g/' || %(name)s)
)
select name from gone;
