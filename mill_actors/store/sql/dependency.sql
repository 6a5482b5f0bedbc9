-- name: put_resolved
-- A job that was over as it began: what was asked for has no work in it. Nobody has ever held it, and no
-- version was run.
insert into mill.completed_job (id, workspace, path, script, tag, priority, status, submitted_at, scheduled_for,
  started_at, completed_at, duration_us, args, result, created_by, attempt, rescues, is_flow)
values (%(id)s::uuid, %(workspace)s, %(path)s, '', 'dependency', 0, 'success', now(), now(), now(), now(), 0, '{}',
  %(result)s::json, %(created_by)s, 1, 0, false);
