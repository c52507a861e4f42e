-- The tables in which Firelift records, inside the target, its runs and what they wrote.

-- One row for each run. stop_requested_at: when somebody asked the run to stop, which it does after the current chunk. made_schema: the
-- target schema, if publishing created it. rolled_back: the receipt of the rollback. token: distinguishes this run from another of the
-- same name.
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

-- One row for each published table. runs_since_scan: how many runs there were since all its keys were compared. source: the Firestore
-- database that its rows came from; it is recorded here because the row of the run may be deleted. The plan is json and not jsonb: the
-- name of a field may contain \u0000, which jsonb refuses.
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

-- The receipt of a chunk. It is written in the transaction that writes the rows, so a chunk is in the target once or not at all.
CREATE TABLE IF NOT EXISTS firelift.loaded_chunks (
    migration_id text NOT NULL,
    chunk text NOT NULL,
    rows jsonb NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (migration_id, chunk)
);

-- One row for each table that a run published: everything that a rollback needs besides the old rows. `columns` are the columns that the
-- table had before the run (a created table: those it was created with). `changes` lists what was added to the table and which foreign
-- keys were dropped. digest_before covers `columns`, digest_after also the added columns; in a merged table both cover only the rows that
-- the run changed, and so do the row counts. `previous_*` is the row of firelift.tables that the run replaced. `dropped_at` is set when
-- the backup, and with it the old rows, has been dropped.
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
