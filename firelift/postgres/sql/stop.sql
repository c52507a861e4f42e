-- Stopping a running migration: the request is recorded in the row of the run, and the run reads it there.

-- name: request_stop
-- The first request counts; a run that has ended cannot be stopped.
UPDATE firelift.migrations
SET stop_requested_at = coalesce(stop_requested_at, pg_catalog.clock_timestamp())
WHERE migration_id = %(migration_id)s AND finished_at IS NULL
RETURNING migration_id

-- name: forget_stop
-- Only the server's clock counts, as those of the machines may differ.
UPDATE firelift.migrations SET stop_requested_at = NULL
WHERE migration_id = %(migration_id)s AND stop_requested_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)

-- name: stop_requested
SELECT stop_requested_at IS NOT NULL FROM firelift.migrations WHERE migration_id = %(migration_id)s

-- name: has_migrations
-- Whether any migration was ever started here. A role that may not use the control schema can run this too.
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class AS class
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = 'firelift' AND relname = 'migrations'
)

-- name: cancel_statements
SELECT pg_catalog.count(pg_catalog.pg_cancel_backend(pid)) FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND application_name = %(application)s AND state = 'active'
    AND pid <> pg_catalog.pg_backend_pid()
