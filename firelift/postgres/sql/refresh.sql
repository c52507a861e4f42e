-- Questions about existing tables of the target, before and while their rows are replaced.

-- name: existing_tables
-- Ordinary and partitioned tables, with everything that could prevent their rows from being replaced.
SELECT relname,
    CASE WHEN relkind = 'p' THEN 'it is partitioned'
        WHEN relispartition THEN 'it is a partition of another'
        WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE class.oid IN (inhrelid, inhparent))
            THEN 'it inherits from a table or has children'
        WHEN relhasrules AND EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = class.oid) THEN 'it has rewrite rules'
        WHEN NOT pg_catalog.pg_has_role(relowner, 'USAGE') THEN 'it belongs to ' || pg_catalog.pg_get_userbyid(relowner)
        WHEN relforcerowsecurity AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user)
            THEN 'it forces row-level security on its owner'
    END,
    array(
        SELECT attname::text FROM pg_catalog.pg_index CROSS JOIN pg_catalog.unnest(indkey::int2[]) WITH ORDINALITY AS key (number, place)
        JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = key.number
        WHERE indrelid = class.oid AND indisprimary AND place <= indnkeyatts ORDER BY place
    )
FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = ANY (%(tables)s) AND relkind IN ('r', 'p')

-- name: existing_columns
-- A column needs a value if it is NOT NULL and nothing else fills it.
SELECT relname, attname, pg_catalog.format_type(atttypid, atttypmod),
    attgenerated <> '',
    attidentity = 'a',
    (attnotnull OR typtype = 'd' AND typnotnull) AND NOT atthasdef AND attidentity = '' AND typdefault IS NULL,
    coalesce(collisdeterministic, true),
    attnotnull
FROM pg_catalog.pg_attribute
JOIN pg_catalog.pg_class AS class ON class.oid = attrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
JOIN pg_catalog.pg_type AS type ON type.oid = atttypid
LEFT JOIN pg_catalog.pg_collation AS sorting ON sorting.oid = attcollation
WHERE nspname = %(schema)s AND relname = ANY (%(tables)s) AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
ORDER BY relname, attnum

-- name: column_dependents
-- Objects because of which PostgreSQL refuses to change a column's type: views, rules, policies, triggers and generated columns that use it.
SELECT att.attname, pg_catalog.pg_describe_object(dep.classid, dep.objid, dep.objsubid)
FROM pg_catalog.pg_depend AS dep
JOIN pg_catalog.pg_attribute AS att ON att.attrelid = dep.refobjid AND att.attnum = dep.refobjsubid
JOIN pg_catalog.pg_class AS class ON class.oid = att.attrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
LEFT JOIN pg_catalog.pg_attrdef AS def ON dep.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND def.oid = dep.objid
LEFT JOIN pg_catalog.pg_attribute AS made ON made.attrelid = def.adrelid AND made.attnum = def.adnum
WHERE dep.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND nspname = %(schema)s AND relname = %(table)s AND att.attname = ANY (%(columns)s)
    AND (dep.classid IN (
            'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_policy'::pg_catalog.regclass,
            'pg_catalog.pg_trigger'::pg_catalog.regclass
        )
        OR made.attgenerated <> '' AND made.attnum <> att.attnum)
GROUP BY 1, 2
ORDER BY 1, 2

-- name: hanging_objects
-- Other objects of the user that use some columns of a table and may or may not accept another type: CHECK constraints, indexes,
-- statistics and defaults. Each with those columns and the statement that creates the same object on the table pg_temp.firelift_trial.
WITH target AS (
    SELECT class.oid, nspname, relname FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = %(schema)s AND relname = %(table)s AND relkind IN ('r', 'p')
),
object (classid, objid, index, statement) AS (
    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, con.oid, nullif(conindid, 0),
        pg_catalog.format('ALTER TABLE pg_temp.firelift_trial ADD CONSTRAINT %%I %%s', conname, pg_catalog.pg_get_constraintdef(con.oid))
    FROM pg_catalog.pg_constraint AS con JOIN target ON conrelid = target.oid WHERE contype IN ('c', 'x')
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, indexrelid, indexrelid,
        pg_catalog.replace(
            pg_catalog.pg_get_indexdef(indexrelid), pg_catalog.format(' ON %%I.%%I USING ', nspname, relname),
            ' ON pg_temp.firelift_trial USING '
        )
    FROM pg_catalog.pg_index JOIN target ON indrelid = target.oid WHERE NOT indisexclusion AND NOT indisprimary
    UNION ALL
    SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, stat.oid, NULL, pg_catalog.replace(
        pg_catalog.replace(
            pg_catalog.pg_get_statisticsobjdef(stat.oid),
            pg_catalog.format('STATISTICS %%s.%%I ', stxnamespace::pg_catalog.regnamespace, stxname),
            'STATISTICS pg_temp.firelift_trial_statistics '
        ),
        pg_catalog.format(' FROM %%I.%%I', nspname, relname), ' FROM pg_temp.firelift_trial'
    )
    FROM pg_catalog.pg_statistic_ext AS stat JOIN target ON stxrelid = target.oid
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, def.oid, NULL,
        pg_catalog.format('ALTER TABLE pg_temp.firelift_trial ALTER COLUMN %%I SET DEFAULT %%s', attname,
            pg_catalog.pg_get_expr(adbin, adrelid))
    FROM pg_catalog.pg_attrdef AS def JOIN target ON adrelid = target.oid
    JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE attgenerated = ''
)
SELECT pg_catalog.pg_describe_object(object.classid, object.objid, 0), statement, pg_catalog.array_agg(DISTINCT attname::text)
FROM object CROSS JOIN target
JOIN pg_catalog.pg_attribute AS att ON attrelid = target.oid AND attname = ANY (%(columns)s) AND NOT attisdropped
WHERE EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = index AND attnum = ANY (indkey::int2[]))
    OR EXISTS (
        SELECT FROM pg_catalog.pg_depend
        WHERE refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND refobjid = target.oid AND refobjsubid = attnum
            AND (classid = object.classid AND pg_depend.objid = object.objid
                OR classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND pg_depend.objid = index)
    )
GROUP BY 1, 2 ORDER BY 1

-- name: checks_of_one_column
-- CHECK constraints that use one of these columns and no other, with their expression and the column's type.
SELECT attname, conname, pg_catalog.pg_get_expr(conbin, conrelid), pg_catalog.format_type(atttypid, atttypmod)
FROM pg_catalog.pg_constraint
JOIN pg_catalog.pg_class AS class ON class.oid = conrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
JOIN pg_catalog.pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
WHERE nspname = %(schema)s AND relname = %(table)s AND contype = 'c' AND pg_catalog.cardinality(conkey) = 1 AND attname = ANY (%(columns)s)
ORDER BY conname

-- name: evaluated_expressions
-- Expressions that PostgreSQL evaluates for every row that is written, in CHECK constraints, indexes, defaults and generated columns, and
-- for a partial index the condition of its rows.
WITH target AS (
    SELECT class.oid FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = %(schema)s AND relname = %(table)s AND relkind IN ('r', 'p')
)
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, con.oid, 0),
    ARRAY[pg_catalog.pg_get_expr(conbin, conrelid)], NULL
FROM pg_catalog.pg_constraint AS con JOIN target ON conrelid = target.oid WHERE contype = 'c'
UNION ALL
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, indexrelid, 0), array(
        SELECT pg_catalog.pg_get_indexdef(indexrelid, place::int, false)
        FROM pg_catalog.unnest(indkey::int2[]) WITH ORDINALITY AS key (number, place) WHERE number = 0
    ), pg_catalog.pg_get_expr(indpred, indrelid)
FROM pg_catalog.pg_index JOIN target ON indrelid = target.oid WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
UNION ALL
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_attrdef'::pg_catalog.regclass, def.oid, 0),
    ARRAY[pg_catalog.pg_get_expr(adbin, adrelid)], NULL
FROM pg_catalog.pg_attrdef AS def JOIN target ON adrelid = target.oid JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum

-- name: expression_statistics
-- Statistics on expressions; older servers do not have them, nor the catalog column.
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_statistic_ext'::pg_catalog.regclass, stat.oid, 0)
FROM pg_catalog.pg_statistic_ext AS stat
JOIN pg_catalog.pg_class AS class ON class.oid = stxrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = %(table)s AND pg_catalog.to_jsonb(stat) ->> 'stxexprs' IS NOT NULL

-- name: columns_without_binary_form
-- Columns whose type, or whose array's element type, has no binary output function.
SELECT attname
FROM pg_catalog.pg_attribute
JOIN pg_catalog.pg_class AS class ON class.oid = attrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
JOIN pg_catalog.pg_type AS type ON type.oid = atttypid
LEFT JOIN pg_catalog.pg_type AS element ON element.oid = type.typelem AND type.typlen = -1
WHERE nspname = %(schema)s AND relname = %(table)s AND attnum > 0 AND NOT attisdropped AND (type.typsend = 0 OR element.typsend = 0)

-- name: enabled_triggers
-- The user's enabled triggers, with their mode: origin, always or replica.
SELECT relname, tgname, tgenabled::text
FROM pg_catalog.pg_trigger
JOIN pg_catalog.pg_class AS class ON class.oid = tgrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = ANY (%(tables)s) AND NOT tgisinternal AND tgenabled <> 'D'
ORDER BY relname, tgname

-- name: foreign_keys_of_tables
-- Foreign keys from or to some tables of a schema; those of partitions are left out, as the partitioned table has them too.
SELECT con.conname, space.nspname, class.relname, array(
        SELECT attname::text FROM pg_catalog.unnest(con.conkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_catalog.pg_attribute ON attrelid = con.conrelid AND attnum = key.number ORDER BY place
    ),
    to_space.nspname, to_class.relname, array(
        SELECT attname::text FROM pg_catalog.unnest(con.confkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_catalog.pg_attribute ON attrelid = con.confrelid AND attnum = key.number ORDER BY place
    ),
    pg_catalog.pg_get_constraintdef(con.oid),
    con.condeferrable, con.condeferred,
    con.confdeltype <> 'a' OR con.confupdtype <> 'a',
    pg_catalog.obj_description(con.oid, 'pg_constraint')
FROM pg_catalog.pg_constraint AS con
JOIN pg_catalog.pg_class AS class ON class.oid = con.conrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
JOIN pg_catalog.pg_class AS to_class ON to_class.oid = con.confrelid
JOIN pg_catalog.pg_namespace AS to_space ON to_space.oid = to_class.relnamespace
WHERE con.contype = 'f' AND con.conparentid = 0
    AND (space.nspname = %(schema)s AND class.relname = ANY (%(tables)s)
        OR to_space.nspname = %(schema)s AND to_class.relname = ANY (%(tables)s))
ORDER BY 2, 3, 1

-- name: unique_columns_to_free
-- Columns of unique and exclusion constraints, other than the primary key, that can be set to NULL temporarily while two rows exchange
-- their values. Columns of an index are found by number, those in its expressions by dependency. A column that a foreign key refers to is
-- never set to NULL: ON UPDATE CASCADE would carry the NULL into the user's rows and not carry the value back.
SELECT DISTINCT attname
FROM pg_catalog.pg_index
JOIN pg_catalog.pg_class AS class ON class.oid = indrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum > 0 AND NOT attisdropped AND NOT attnotnull AND attgenerated = ''
WHERE nspname = %(schema)s AND relname = %(table)s AND (indisunique OR indisexclusion) AND NOT indisprimary
    AND (attnum = ANY (indkey::int2[]) OR EXISTS (
        SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objid = indexrelid
            AND refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND refobjid = indrelid AND refobjsubid = attnum
    ))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = indrelid AND attnum = ANY (confkey))

-- name: leading_indexes
-- The columns of every valid index of a table that covers all rows; an expression in place of a column is an empty text.
SELECT array(
    SELECT coalesce(attname::text, '') FROM pg_catalog.unnest(indkey::int2[]) WITH ORDINALITY AS key (number, place)
    LEFT JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = key.number ORDER BY place
)
FROM pg_catalog.pg_index
JOIN pg_catalog.pg_class AS class ON class.oid = indrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = %(table)s AND indisvalid AND indpred IS NULL

-- name: whole_column_indexes
-- B-tree indexes, other than the primary key, that cover all rows, have no expressions and at least one column of variable length; with
-- all columns that they store.
SELECT index.relname, array(
        SELECT attname::text FROM pg_catalog.unnest(indkey::int2[]) WITH ORDINALITY AS key (number, place)
        JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = key.number ORDER BY place
    ),
    pg_catalog.pg_get_indexdef(indexrelid) = pg_catalog.format(
        'CREATE INDEX %%I ON %%I.%%I USING btree (%%s)', index.relname, nspname, class.relname,
        (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY place)
         FROM pg_catalog.unnest(indkey::int2[]) WITH ORDINALITY AS key (number, place)
         JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = key.number)
    ),
    pg_catalog.obj_description(indexrelid, 'pg_class')
FROM pg_catalog.pg_index
JOIN pg_catalog.pg_class AS index ON index.oid = indexrelid
JOIN pg_catalog.pg_am AS method ON method.oid = index.relam
JOIN pg_catalog.pg_class AS class ON class.oid = indrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
WHERE nspname = %(schema)s AND class.relname = %(table)s AND amname = 'btree'
    AND indisready AND NOT indisprimary AND indexprs IS NULL AND indpred IS NULL
    AND EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = indexrelid AND attlen < 0)
ORDER BY 1

-- name: secondary_indexes
-- All indexes of a table except that of its primary key.
SELECT index.relname
FROM pg_catalog.pg_index
JOIN pg_catalog.pg_class AS index ON index.oid = indexrelid
JOIN pg_catalog.pg_class AS class ON class.oid = indrelid
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
WHERE nspname = %(schema)s AND class.relname = %(table)s AND NOT indisprimary

-- name: column_type
-- A column's type with its collation, as ALTER COLUMN … TYPE takes it, and whether it is NOT NULL.
SELECT pg_catalog.format_type(atttypid, atttypmod)
        || coalesce(' COLLATE ' || pg_catalog.quote_ident(space.nspname) || '.' || pg_catalog.quote_ident(collname), ''),
    attnotnull
FROM pg_catalog.pg_attribute
JOIN pg_catalog.pg_type AS type ON type.oid = atttypid
LEFT JOIN pg_catalog.pg_collation AS sorting ON sorting.oid = attcollation AND attcollation <> typcollation
LEFT JOIN pg_catalog.pg_namespace AS space ON space.oid = collnamespace
WHERE attrelid = (SELECT class.oid FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS here ON here.oid = relnamespace
                  WHERE nspname = %(schema)s AND relname = %(table)s AND relkind IN ('r', 'p'))
    AND attname = %(column)s AND attnum > 0 AND NOT attisdropped

-- name: estimated_rows
-- About how many rows tables have, by the server's statistics. Those that were never analyzed have none.
SELECT relname, reltuples::bigint
FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = ANY (%(tables)s) AND relkind IN ('r', 'p') AND reltuples >= 0
