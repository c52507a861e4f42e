-- The tables in which Firelift keeps, inside the target, what the target has been given.

-- One row a run. stop_requested_at: somebody wants the run to end between two chunks. made_schema: the target schema, if publishing
-- made it. rolled_back: the receipt of the rollback. token: tells this run from another of its name.
CREATE TABLE IF NOT EXISTS firelift.migrations (
    migration_id text PRIMARY KEY,
    mode text NOT NULL,
    status text NOT NULL,
    phase text,
    read_time timestamptz,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    finished_at timestamptz,
    settings jsonb NOT NULL DEFAULT '{}',
    counts jsonb NOT NULL DEFAULT '{}',
    stop_requested_at timestamptz,
    made_schema text,
    rolled_back jsonb,
    token text
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
