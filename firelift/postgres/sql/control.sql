-- The tables in which Firelift keeps, inside the target, what the target has been given.

-- One row a run.
CREATE TABLE IF NOT EXISTS firelift.migrations (
    migration_id text PRIMARY KEY,
    mode text NOT NULL,
    status text NOT NULL,
    phase text,
    read_time timestamptz,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at timestamptz,
    settings jsonb NOT NULL DEFAULT '{}',
    counts jsonb NOT NULL DEFAULT '{}'
);

-- One row a published table. runs_since_scan: how many runs have passed since all its keys were compared. source: the Firestore
-- database that its rows came from, here because the row of the run may be deleted. The plan is json, not jsonb: a field's name may hold \u0000, which jsonb refuses.
CREATE TABLE IF NOT EXISTS firelift.tables (
    collection text NOT NULL,
    target_schema text NOT NULL,
    table_name text NOT NULL,
    plan json NOT NULL,
    watermark timestamptz,
    migration_id text NOT NULL,
    runs_since_scan int NOT NULL DEFAULT 0,
    source text,
    PRIMARY KEY (target_schema, collection)
);

-- The receipt of a chunk, written in the transaction that writes its rows: a chunk is in the target once or not at all.
CREATE TABLE IF NOT EXISTS firelift.loaded_chunks (
    migration_id text NOT NULL,
    chunk text NOT NULL,
    rows jsonb NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (migration_id, chunk)
);

-- What an older control schema lacks. Asked first, for ALTER TABLE wants the owner even where there is nothing to do.
-- stop_requested_at: somebody wants the run to end between two chunks. made_schema: the target schema, if publishing made it.
-- rolled_back: the receipt of the rollback. token: tells this run from another of its name.
DO $$
BEGIN
    IF (
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute
        WHERE attrelid = 'firelift.migrations'::pg_catalog.regclass AND NOT attisdropped
            AND attname IN ('stop_requested_at', 'made_schema', 'rolled_back', 'token')
    ) < 4 THEN
        ALTER TABLE firelift.migrations
            ADD COLUMN IF NOT EXISTS stop_requested_at timestamptz,
            ADD COLUMN IF NOT EXISTS made_schema text,
            ADD COLUMN IF NOT EXISTS rolled_back jsonb,
            ADD COLUMN IF NOT EXISTS token text;
    END IF;
END
$$;

-- One row a table that a run published: everything a rollback needs beside the old rows themselves. `columns` are the table's before
-- the run (of a created table: its own); `changes` says what was added to the table and which foreign keys had to go; the digests
-- are of `columns` before and of those and the added ones after. Rows and digests of a merged table are those of the touched rows alone.
-- `previous_*` is the row of firelift.tables that the run replaced. Once `dropped_at` is set the old rows are gone.
CREATE TABLE IF NOT EXISTS firelift.backups (
    migration_id text NOT NULL,
    target_schema text NOT NULL,
    table_name text NOT NULL,
    collection text NOT NULL,
    action text NOT NULL CHECK (action IN ('created', 'replaced', 'merged')),
    backup_schema text,
    columns text[] NOT NULL,
    changes jsonb NOT NULL,
    rows_before bigint,
    digest_before text,
    rows_after bigint NOT NULL,
    digest_after text NOT NULL,
    previous_table text,
    previous_plan json,
    previous_watermark timestamptz,
    previous_migration_id text,
    previous_runs_since_scan int,
    previous_source text,
    made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    dropped_at timestamptz,
    PRIMARY KEY (migration_id, target_schema, table_name)
);

-- What older tables of these names lack, asked first as above. A constraint is made anew where it knows nothing of merged tables.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'firelift.tables'::pg_catalog.regclass AND NOT attisdropped AND attname = 'runs_since_scan'
    ) THEN
        ALTER TABLE firelift.tables ADD COLUMN runs_since_scan int NOT NULL DEFAULT 0;
    END IF;
    IF (
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute
        WHERE attrelid = 'firelift.backups'::pg_catalog.regclass AND NOT attisdropped
            AND attname IN ('previous_runs_since_scan', 'previous_source')
    ) < 2 THEN
        ALTER TABLE firelift.backups
            ADD COLUMN IF NOT EXISTS previous_runs_since_scan int,
            ADD COLUMN IF NOT EXISTS previous_source text,
            DROP CONSTRAINT IF EXISTS backups_action_check,
            ADD CONSTRAINT backups_action_check CHECK (action IN ('created', 'replaced', 'merged'));
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_attribute
        WHERE attrelid = 'firelift.tables'::pg_catalog.regclass AND NOT attisdropped AND attname = 'source'
    ) THEN
        ALTER TABLE firelift.tables ADD COLUMN source text;
        -- What an earlier version recorded says it only where the project was given.
        UPDATE firelift.tables SET source = coalesce(
            settings ->> 'firestore',
            'projects/' || (settings ->> 'project_id') || '/databases/' || (settings ->> 'firestore_database')
                || CASE WHEN settings ->> 'firestore_emulator_host' IS NULL THEN '' ELSE ' of an emulator' END
        )
        FROM firelift.migrations WHERE migrations.migration_id = tables.migration_id;
    END IF;
END
$$;
