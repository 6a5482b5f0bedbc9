-- NOTIFY takes a database-wide lock at commit, so it has a transaction of its own, after the one it tells of.

-- name: notify
select pg_notify(%(channel)s, %(payload)s);
