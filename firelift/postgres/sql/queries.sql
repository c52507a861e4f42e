-- Queries in which no name comes from a plan. psycopg reads a percent sign as the start of a parameter, also in comments.

-- name: prepare_session
-- Sets what every session relies on, whatever the defaults of the server, the database or the role are: how values and names are written,
-- how transactions behave, and that no timeout ends a statement. Settings that this server does not have are skipped. With row_security
-- off, a policy that would hide rows causes an error instead of a table with fewer rows. These stay as they are:
-- default_transaction_read_only, by which Supabase protects a full disk (pre-validation reports it), tablespaces, memory and the planner;
-- but not JIT: what a question to the catalogs would cost is overestimated so much that compiling it takes a second, and asking it 10 ms.
SELECT pg_catalog.set_config(name, value, false)
FROM (VALUES
    ('search_path', 'pg_catalog, pg_temp'),
    ('client_encoding', 'UTF8'),
    ('TimeZone', 'UTC'),
    ('DateStyle', 'ISO, MDY'),
    ('IntervalStyle', 'postgres'),
    ('lc_monetary', 'C'),
    ('lc_numeric', 'C'),
    ('lc_time', 'C'),
    ('extra_float_digits', '1'),
    ('bytea_output', 'hex'),
    ('xmlbinary', 'base64'),
    ('xmloption', 'content'),
    ('array_nulls', 'on'),
    ('quote_all_identifiers', 'off'),
    ('standard_conforming_strings', 'on'),
    ('escape_string_warning', 'on'),
    ('backslash_quote', 'safe_encoding'),
    ('transform_null_equals', 'off'),
    ('gin_fuzzy_search_limit', '0'),
    ('jit', 'off'),
    ('default_table_access_method', 'heap'),
    ('row_security', 'off'),
    ('client_min_messages', 'warning'),
    ('exit_on_error', 'off'),
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_deferrable', 'off'),
    ('lock_timeout', '60s'),
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('idle_session_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'),
    ('tcp_keepalives_idle', '60'),
    ('tcp_keepalives_interval', '10'),
    ('tcp_keepalives_count', '6'),
    ('tcp_user_timeout', '120000')
) AS wanted (name, value)
JOIN pg_catalog.pg_settings USING (name)
UNION ALL
-- Set only where they differ: setting the first needs a privilege, and stronger values of the other are kept.
SELECT pg_catalog.set_config(name, value, false)
FROM (VALUES
    ('session_replication_role', 'replica', 'origin'),
    ('session_replication_role', 'local', 'origin'),
    ('synchronous_commit', 'off', 'on')
) AS unwanted (name, setting, value)
JOIN pg_catalog.pg_settings USING (name, setting)

-- name: session
-- Identifies this session among all others, including a later one with the same process id.
SELECT pid, backend_start FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()

-- name: session_waits_for_client
SELECT wait_event IS NOT DISTINCT FROM 'ClientRead' FROM pg_catalog.pg_stat_activity WHERE pid = %s AND backend_start = %s

-- name: take_lock
-- One lock for each target schema, so that two runs never write to one target at the same time.
SELECT pg_catalog.pg_try_advisory_lock(%(class)s::int, %(signed_key)s::int)

-- name: lock_holder
-- The other run's name is its application_name, which everybody can see, but which a pooler may have replaced.
SELECT activity.application_name
FROM pg_catalog.pg_locks AS lock
JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
WHERE lock.locktype = 'advisory'
    AND lock.granted
    AND lock.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND lock.classid::bigint = %(class)s AND lock.objid::bigint = %(key)s
    AND lock.objsubid = 2

-- name: other_lock_holders
SELECT activity.application_name
FROM pg_catalog.pg_locks AS lock
JOIN pg_catalog.pg_stat_activity AS activity USING (pid)
WHERE lock.locktype = 'advisory'
    AND lock.granted
    AND lock.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND lock.classid::bigint = %(class)s AND lock.objid::bigint <> %(key)s
    AND lock.objsubid = 2

-- name: lock_control
-- Whoever creates, changes or drops the control schema, which all target schemas share, holds this lock until the transaction ends.
SELECT pg_catalog.pg_advisory_xact_lock(%(key)s)

-- name: unfinished_migrations
SELECT migration_id FROM firelift.migrations
WHERE finished_at IS NULL AND coalesce(settings ->> 'target_schema', 'public') = %(target_schema)s
ORDER BY started_at DESC

-- name: recorded_runs
-- The latest first, with the target schema each was started for; a test run writes to a schema of its own instead.
SELECT migration_id, mode, coalesce(settings ->> 'target_schema', 'public'), settings ->> 'working_dir'
FROM firelift.migrations ORDER BY started_at DESC, migration_id DESC

-- name: schema_exists
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s)

-- name: existing_roles
SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY (%(roles)s) ORDER BY rolname

-- name: record_start
-- A resumed run keeps its row and its start time. No row is returned where another run has this name.
INSERT INTO firelift.migrations AS standing (migration_id, mode, status, settings, token)
VALUES (%(migration_id)s, %(mode)s, 'running', %(settings)s, %(token)s)
ON CONFLICT (migration_id) DO UPDATE
SET mode = excluded.mode, status = 'running', settings = excluded.settings, finished_at = NULL, rolled_back = NULL
WHERE standing.token IS NOT DISTINCT FROM excluded.token
RETURNING xmax = 0

-- name: published_later
-- Tables of the schema that have a snapshot later than this one, and the run that published it.
SELECT collection, migration_id FROM firelift.tables
WHERE target_schema = %(target_schema)s AND watermark > %(read_time)s AND migration_id <> %(migration_id)s

-- name: has_published
SELECT EXISTS (SELECT FROM firelift.backups WHERE migration_id = %(migration_id)s)

-- name: record_progress
-- A parameter that is NULL leaves its column as it is.
UPDATE firelift.migrations
SET status = coalesce(%(status)s, status),
    phase = coalesce(%(phase)s, phase),
    read_time = coalesce(%(read_time)s, read_time),
    counts = coalesce(%(counts)s, counts)
WHERE migration_id = %(migration_id)s

-- name: record_finish
UPDATE firelift.migrations
SET status = %(status)s, counts = coalesce(%(counts)s, counts), finished_at = pg_catalog.clock_timestamp()
WHERE migration_id = %(migration_id)s

-- name: forget_run
DELETE FROM firelift.migrations
WHERE migration_id = %(migration_id)s AND NOT EXISTS (SELECT FROM firelift.backups WHERE migration_id = %(migration_id)s)

-- name: control_is_empty
SELECT NOT EXISTS (SELECT FROM firelift.migrations) AND NOT EXISTS (SELECT FROM firelift.tables)
    AND NOT EXISTS (SELECT FROM firelift.loaded_chunks) AND NOT EXISTS (SELECT FROM firelift.backups)
    -- A run of another schema that is at work may be about to write here.
    AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks
        WHERE locktype = 'advisory' AND granted AND classid::bigint = %(class)s AND objsubid = 2
            AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) <= 1

-- name: migration
SELECT migration_id, mode, status, phase, read_time, started_at, finished_at, settings, counts
FROM firelift.migrations WHERE migration_id = %(migration_id)s

-- name: forget_namesakes
-- Records of another collection whose table had this name: that table was dropped, or this one could not have the name.
DELETE FROM firelift.tables WHERE target_schema = %(target_schema)s AND table_name = %(table_name)s AND collection <> %(collection)s

-- name: save_table
-- A run that did not compare all keys is counted in runs_since_scan. The source of the rows is taken from the row of the run.
INSERT INTO firelift.tables AS saved (collection, target_schema, table_name, plan, watermark, migration_id, runs_since_scan, source)
VALUES (%(collection)s, %(target_schema)s, %(table_name)s, %(plan)s, %(watermark)s, %(migration_id)s, 0,
    (SELECT settings ->> 'firestore' FROM firelift.migrations AS run WHERE run.migration_id = %(migration_id)s))
ON CONFLICT (target_schema, collection) DO UPDATE
SET table_name = excluded.table_name, plan = excluded.plan, watermark = excluded.watermark, migration_id = excluded.migration_id,
    source = excluded.source,
    runs_since_scan = CASE WHEN %(scanned)s THEN 0 ELSE saved.runs_since_scan + 1 END

-- name: sources_of_tables
SELECT plan::text, source FROM firelift.tables WHERE target_schema = %(target_schema)s AND source IS NOT NULL

-- name: saved_tables
SELECT plan::text, watermark, migration_id, runs_since_scan FROM firelift.tables
WHERE target_schema = %(target_schema)s ORDER BY collection COLLATE "C"

-- name: claim_chunk
-- The first statement of its transaction: a second loader of the same chunk waits here until the first commits, and then skips the chunk.
INSERT INTO firelift.loaded_chunks (migration_id, chunk, rows)
VALUES (%(migration_id)s, %(chunk)s, %(rows)s)
ON CONFLICT DO NOTHING
RETURNING chunk

-- name: loaded_chunk
SELECT chunk, rows FROM firelift.loaded_chunks WHERE migration_id = %(migration_id)s AND chunk = %(chunk)s

-- name: loaded_chunks
SELECT chunk, rows FROM firelift.loaded_chunks WHERE migration_id = %(migration_id)s ORDER BY chunk COLLATE "C"

-- name: forget_chunks
DELETE FROM firelift.loaded_chunks WHERE migration_id = %(migration_id)s

-- name: columns_to_finish
-- Columns of staged tables that are timestamp[] until they become timestamptz[].
SELECT attname
FROM pg_catalog.pg_attribute
WHERE attrelid = (SELECT class.oid FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
                  WHERE nspname = %(schema)s AND relname = %(table)s)
    AND atttypid = 'timestamp[]'::pg_catalog.regtype
    AND NOT attisdropped
ORDER BY attnum

-- name: existing_keys
-- Primary keys (p) and foreign keys (f) of the tables of a schema, with their columns in the key's order.
SELECT class.relname, con.contype::text, array(
    SELECT attname::text FROM pg_catalog.unnest(con.conkey) WITH ORDINALITY AS key (number, place)
    JOIN pg_catalog.pg_attribute ON attrelid = con.conrelid AND attnum = key.number ORDER BY place
)
FROM pg_catalog.pg_constraint AS con
JOIN pg_catalog.pg_class AS class ON class.oid = con.conrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
WHERE nspname = %(schema)s AND contype IN ('p', 'f')

-- name: validated_foreign_keys
-- Foreign keys within a schema that are validated and enforced, with their columns in the key's order. Servers before PostgreSQL 18 have
-- no catalog column for NOT ENFORCED.
SELECT source.relname, array(
    SELECT attname::text FROM pg_catalog.unnest(con.conkey) WITH ORDINALITY AS key (number, place)
    JOIN pg_catalog.pg_attribute ON attrelid = con.conrelid AND attnum = key.number ORDER BY place
), target.relname, array(
    SELECT attname::text FROM pg_catalog.unnest(con.confkey) WITH ORDINALITY AS key (number, place)
    JOIN pg_catalog.pg_attribute ON attrelid = con.confrelid AND attnum = key.number ORDER BY place
)
FROM pg_catalog.pg_constraint AS con
JOIN pg_catalog.pg_class AS source ON source.oid = con.conrelid
JOIN pg_catalog.pg_class AS target ON target.oid = con.confrelid AND target.relnamespace = source.relnamespace
JOIN pg_catalog.pg_namespace AS space ON space.oid = source.relnamespace
WHERE nspname = %(schema)s AND contype = 'f' AND convalidated AND coalesce((pg_catalog.to_jsonb(con) ->> 'conenforced')::bool, true)

-- name: table_blocks
SELECT pg_catalog.pg_relation_size(class.oid) / pg_catalog.current_setting('block_size')::int
FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = %(table)s AND relkind IN ('r', 'p')

-- name: indexed_columns
-- The columns, in their order, of each index that covers every row.
SELECT array(
    SELECT attname::text FROM pg_catalog.unnest(indkey::int2[]) WITH ORDINALITY AS key (number, place)
    JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = key.number ORDER BY place
)
FROM pg_catalog.pg_index
JOIN pg_catalog.pg_class AS class ON class.oid = indrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = %(table)s AND indisvalid AND indpred IS NULL

-- name: taken_names
-- Everything in a schema that has one of these names. Tables, views, indexes and sequences share one namespace and types another; as every
-- table has a row type, a type conflicts as well. Array types do not: PostgreSQL renames them itself.
SELECT relname, CASE relkind
        WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
        WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'partitioned index' WHEN 'c' THEN 'composite type'
        WHEN 'f' THEN 'foreign table' ELSE 'relation of kind ' || relkind::text
    END
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = ANY (%(names)s)
UNION ALL
SELECT typname, CASE typtype WHEN 'e' THEN 'enum type' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type' ELSE 'type' END
FROM pg_catalog.pg_type JOIN pg_catalog.pg_namespace AS space ON space.oid = typnamespace
WHERE nspname = %(schema)s AND typname = ANY (%(names)s) AND typrelid = 0 AND NOT (typelem <> 0 AND typlen = -1)
ORDER BY 1, 2

-- name: array_types_in_the_way
-- `users` has an array type `_users`, which cannot move to a schema that has a table or an array type of that name.
SELECT CASE WHEN ours.typelem <> 0 AND ours.typlen = -1 THEN %(staging)s ELSE %(target)s END, ours.typname
FROM pg_catalog.pg_type AS ours
JOIN pg_catalog.pg_type AS theirs USING (typname)
WHERE ours.typnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %(staging)s)
    AND theirs.typnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %(target)s)
    AND (ours.typelem <> 0 AND ours.typlen = -1 OR theirs.typelem <> 0 AND theirs.typlen = -1)

-- name: staged_indexes
SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relkind = 'i' ORDER BY relname COLLATE "C"

-- name: relation_names
SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace WHERE nspname = ANY (%(schemas)s)

-- name: server_facts
SELECT pg_catalog.current_setting('server_version_num')::int,
    pg_catalog.current_setting('server_version'),
    pg_catalog.current_setting('server_encoding'),
    pg_catalog.pg_is_in_recovery(),
    pg_catalog.current_setting('default_transaction_read_only')::bool,
    pg_catalog.current_database(),
    current_user::text,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')

-- name: schema_facts
-- No row where the schema does not exist.
SELECT pg_catalog.has_schema_privilege(oid, 'USAGE'), pg_catalog.has_schema_privilege(oid, 'CREATE')
FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s

-- name: foreign_control_tables
-- Tables in our control schema that this role may not write.
SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = 'firelift' AND relkind = 'r'
    AND NOT (
        pg_catalog.has_table_privilege(pg_class.oid, 'SELECT') AND pg_catalog.has_table_privilege(pg_class.oid, 'INSERT')
        AND pg_catalog.has_table_privilege(pg_class.oid, 'UPDATE') AND pg_catalog.has_table_privilege(pg_class.oid, 'DELETE')
    )
ORDER BY relname

-- name: free_connections
SELECT least(
    pg_catalog.current_setting('max_connections')::int - pg_catalog.current_setting('superuser_reserved_connections')::int
        - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
    (SELECT CASE WHEN rolconnlimit < 0 THEN NULL
        ELSE rolconnlimit - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE usename = current_user) END
     FROM pg_catalog.pg_roles WHERE rolname = current_user)
)::int

-- name: server_now
SELECT pg_catalog.clock_timestamp(), pg_catalog.pg_database_size(pg_catalog.current_database())

-- name: count_tables
SELECT pg_catalog.count(*) FROM pg_catalog.pg_class
WHERE relkind = 'r' AND relnamespace = pg_catalog.to_regnamespace(pg_catalog.quote_ident(%(schema)s))

-- name: lock_room
-- max_locks_per_transaction, and how many times the server's lock table could hold that many locks.
SELECT pg_catalog.current_setting('max_locks_per_transaction')::int,
    pg_catalog.current_setting('max_connections')::int + pg_catalog.current_setting('max_prepared_transactions')::int

-- name: average_row_size
-- Bytes on disk for each row, including TOAST; NULL for a table that is empty or was never analysed.
SELECT (pg_catalog.pg_total_relation_size(class.oid) / nullif(greatest(reltuples, 0), 0))::bigint
FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = %(table)s

-- name: staging_token
SELECT coalesce(pg_catalog.obj_description(oid, 'pg_namespace'), oid::text) FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s

-- name: table_weights
-- The size of each table with its indexes and TOAST, and the size of the same table if it were empty: a page for each index.
SELECT t.relname, pg_catalog.pg_total_relation_size(t.oid), pg_catalog.current_setting('block_size')::int * (
    SELECT pg_catalog.count(*) FROM pg_catalog.pg_index AS i WHERE i.indrelid IN (t.oid, t.reltoastrelid)
)
FROM pg_catalog.pg_class AS t
WHERE t.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s) AND t.relname = ANY (%(tables)s)
