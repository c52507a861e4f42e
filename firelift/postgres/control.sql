-- The tables in which Firelift keeps, inside the target, what the target has been given.

-- One row a run.
CREATE TABLE IF NOT EXISTS firelift.migrations (
    migration_id text PRIMARY KEY,
    mode text NOT NULL,
    status text NOT NULL,
    phase text,
    read_time timestamptz,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    settings jsonb NOT NULL DEFAULT '{}',
    counts jsonb NOT NULL DEFAULT '{}'
);

-- One row a published table. The plan is json, not jsonb: a field's name may hold \u0000, which jsonb refuses.
CREATE TABLE IF NOT EXISTS firelift.tables (
    collection text NOT NULL,
    target_schema text NOT NULL,
    table_name text NOT NULL,
    plan json NOT NULL,
    watermark timestamptz,
    migration_id text NOT NULL,
    PRIMARY KEY (target_schema, collection)
);

-- The receipt of a chunk, written in the transaction that writes its rows: a chunk is in the target once or not at all.
CREATE TABLE IF NOT EXISTS firelift.loaded_chunks (
    migration_id text NOT NULL,
    chunk text NOT NULL,
    rows jsonb NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (migration_id, chunk)
);
