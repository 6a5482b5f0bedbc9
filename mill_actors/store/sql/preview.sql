-- Versions that no path means: code that runs without having been deployed.

-- name: put_preview_script
-- What runs again is kept longer: see mill.drop_previews.
insert into mill.script as s (workspace, hash, path, language, content, tag, dedicated, options, created_by)
values (%(workspace)s, %(hash)s, %(path)s, %(language)s, %(content)s, %(tag)s, false, %(options)s::json,
  %(created_by)s)
on conflict (workspace, hash) do update set created_at = now() where s.created_at < now() - interval '1 day';

-- name: put_preview_flow
insert into mill.flow as f (workspace, hash, path, value, tag, options, created_by)
values (%(workspace)s, %(hash)s, %(path)s, %(value)s::json, %(tag)s, %(options)s::json, %(created_by)s)
on conflict (workspace, hash) do update set created_at = now() where f.created_at < now() - interval '1 day';
