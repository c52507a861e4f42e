-- What a run keeps so that it can be taken back, and how that is read again.

-- name: keep_table
INSERT INTO firelift.backups (
    migration_id, target_schema, table_name, collection, action, backup_schema, columns, changes,
    rows_before, digest_before, rows_after, digest_after,
    previous_table, previous_plan, previous_watermark, previous_migration_id, previous_runs_since_scan,
    previous_source
)
SELECT %(migration_id)s, %(target_schema)s, %(table_name)s, %(collection)s, %(action)s, %(backup_schema)s, %(columns)s, %(changes)s,
    %(rows_before)s, %(digest_before)s, %(rows_after)s, %(digest_after)s,
    previous.table_name, previous.plan, previous.watermark, previous.migration_id, previous.runs_since_scan,
    previous.source
FROM (SELECT) AS once
LEFT JOIN firelift.tables AS previous ON previous.target_schema = %(target_schema)s AND previous.collection = %(collection)s

-- name: kept_tables
-- Also the transaction that wrote this row, which is the last one of the run, and the run that published the table last: if that is
-- another run, its rows have replaced this one's.
SELECT kept.target_schema, kept.table_name, kept.action, kept.backup_schema, kept.columns, kept.changes, kept.rows_before,
    kept.digest_before, kept.rows_after, kept.digest_after, kept.xmin::text, published.migration_id, kept.dropped_at
FROM firelift.backups AS kept
LEFT JOIN firelift.tables AS published ON published.target_schema = kept.target_schema AND published.collection = kept.collection
WHERE kept.migration_id = %(migration_id)s
ORDER BY kept.target_schema, kept.table_name COLLATE "C"

-- name: published_without_backup
-- Tables that this run published without a backup, as Firelift did before it kept any.
SELECT table_name FROM firelift.tables WHERE migration_id = %(migration_id)s ORDER BY table_name COLLATE "C"

-- name: record_to_roll_back
SELECT status, made_schema, rolled_back::text, counts #>> '{appConfig,oldFile}' FROM firelift.migrations WHERE migration_id = %(migration_id)s FOR UPDATE

-- name: forget_published
DELETE FROM firelift.tables WHERE migration_id = %(migration_id)s

-- name: restore_published
-- The plan is json and copied as it is, as jsonb refuses the \u0000 that it may contain.
INSERT INTO firelift.tables (collection, target_schema, table_name, plan, watermark, migration_id, runs_since_scan, source)
SELECT collection, target_schema, previous_table, previous_plan, previous_watermark, previous_migration_id,
    coalesce(previous_runs_since_scan, 0), previous_source
FROM firelift.backups
WHERE migration_id = %(migration_id)s AND previous_migration_id IS NOT NULL

-- name: forget_backups
DELETE FROM firelift.backups WHERE migration_id = %(migration_id)s

-- name: record_rolled_back
UPDATE firelift.migrations
SET status = 'rolled_back', finished_at = pg_catalog.clock_timestamp(), made_schema = NULL, rolled_back = %(receipt)s
WHERE migration_id = %(migration_id)s

-- name: change_kept_table
UPDATE firelift.backups SET changes = %(changes)s
WHERE migration_id = %(migration_id)s AND target_schema = %(target_schema)s AND table_name = %(table_name)s

-- name: record_made_schema
UPDATE firelift.migrations SET made_schema = %(schema)s WHERE migration_id = %(migration_id)s

-- name: knows_backups
-- False where the target has no control schema, or an older one without this table.
SELECT pg_catalog.to_regclass('firelift.backups') IS NOT NULL

-- name: expired_backups
-- Runs older than the retention, by the server's clock, whose backups still exist.
SELECT migration_id, pg_catalog.max(backup_schema), pg_catalog.min(made_at), pg_catalog.clock_timestamp() - pg_catalog.min(made_at),
    pg_catalog.array_agg(DISTINCT table_name COLLATE "C" ORDER BY table_name COLLATE "C"),
    coalesce(pg_catalog.sum(pg_catalog.pg_total_relation_size(class.oid)), 0)::bigint
FROM firelift.backups AS kept
LEFT JOIN pg_catalog.pg_namespace AS space ON nspname = backup_schema
LEFT JOIN pg_catalog.pg_class AS class ON relnamespace = space.oid AND relname IN (table_name, changes ->> 'inserted') AND relkind = 'r'
WHERE dropped_at IS NULL AND (
    target_schema = %(target_schema)s
    -- A test run that was kept has a schema of its own, and belongs to the one that it tries out.
    OR EXISTS (
        SELECT FROM firelift.migrations AS run
        WHERE run.migration_id = kept.migration_id AND mode = 'test' AND settings ->> 'target_schema' = %(target_schema)s
    )
)
GROUP BY migration_id
HAVING pg_catalog.clock_timestamp() - pg_catalog.min(made_at) >= %(retention)s
ORDER BY pg_catalog.min(made_at), migration_id

-- name: backup_tables
SELECT nspname, relname FROM firelift.backups AS kept
JOIN pg_catalog.pg_namespace AS space ON nspname = backup_schema
JOIN pg_catalog.pg_class AS class ON relnamespace = space.oid AND relname IN (table_name, changes ->> 'inserted') AND relkind = 'r'
WHERE migration_id = %(migration_id)s
ORDER BY relname COLLATE "C"

-- name: record_dropped
-- The saved plan is removed as well: a run in which nothing changes would keep one for every table.
UPDATE firelift.backups SET dropped_at = pg_catalog.clock_timestamp(), previous_plan = NULL
WHERE migration_id = %(migration_id)s AND dropped_at IS NULL
RETURNING migration_id
