-- Who owns the objects that Firelift uses, and the code that would run with its rights.

-- name: untrusted_owners
-- The roles that own anything of a kind that `foreign_objects` looks at, and that have no power over the migrating role already. Trusted are
-- the migrating role itself, its members and superusers, and the services of Supabase where Supabase's own superuser exists. Objects made by
-- initdb (oid below 16384) are the system's. In most databases there are none of these roles, which is seen in a tenth of the time.
WITH platform AS (
    SELECT rolname FROM pg_catalog.pg_roles
    WHERE rolname IN ('supabase_auth_admin', 'supabase_storage_admin', 'supabase_realtime_admin', 'supabase_functions_admin')
        AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'supabase_admin' AND rolsuper)
),
owner (role) AS (
    SELECT nspowner FROM pg_catalog.pg_namespace WHERE oid >= 16384
    UNION SELECT relowner FROM pg_catalog.pg_class WHERE oid >= 16384
    UNION SELECT evtowner FROM pg_catalog.pg_event_trigger
    UNION SELECT proowner FROM pg_catalog.pg_proc WHERE oid >= 16384
    UNION SELECT oprowner FROM pg_catalog.pg_operator WHERE oid >= 16384
    UNION SELECT opcowner FROM pg_catalog.pg_opclass WHERE oid >= 16384
    UNION SELECT typowner FROM pg_catalog.pg_type WHERE oid >= 16384
    UNION SELECT collowner FROM pg_catalog.pg_collation WHERE oid >= 16384
)
SELECT role FROM owner LEFT JOIN pg_catalog.pg_roles AS known ON known.oid = role
WHERE NOT coalesce(pg_catalog.pg_has_role(CASE WHEN rolname = 'pg_database_owner'
        THEN (SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) ELSE known.oid END,
        current_user, 'MEMBER') OR rolname IN (SELECT rolname FROM platform), false)

-- name: foreign_objects
-- Objects that belong to one of the roles `untrusted`. Everything in the schemas `own` must belong to Firelift; the `tables` of
-- `target_schema` may belong to Firelift or to the user. For a table, all code counts that runs when the table is read or written: functions
-- and operators in constraints, defaults, generated columns, indexes, statistics, triggers and rules, and the types of its columns. Policies
-- do not count, as they never apply to Firelift. For a table at the other end of a foreign key, and for one whose owner is named in
-- `trusted`, only code counts that runs when it is read. Objects made by initdb (oid below 16384) are the system's.
WITH RECURSIVE
own_table AS (
    SELECT class.oid FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = ANY (%(own)s) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
),
target_table AS (
    SELECT class.oid, pg_catalog.pg_get_userbyid(relowner) = ANY (%(trusted)s) AS named
    FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = %(target_schema)s AND relname = ANY (%(tables)s)
),
written AS (
    SELECT oid FROM own_table UNION SELECT oid FROM target_table WHERE NOT named
),
neighbour AS (
    SELECT conrelid AS oid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid IN (SELECT oid FROM target_table)
    UNION SELECT confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conrelid IN (SELECT oid FROM target_table)
),
used AS (
    SELECT oid, true AS is_written FROM written
    UNION ALL
    SELECT oid, false FROM (SELECT oid FROM target_table UNION SELECT oid FROM neighbour EXCEPT SELECT oid FROM written) AS only_read
),
part (of_table, classid, objid) AS (
    SELECT indrelid, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, indexrelid
    FROM pg_catalog.pg_index JOIN used ON used.oid = indrelid
    UNION ALL
    SELECT stxrelid, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::oid, pg_statistic_ext.oid
    FROM pg_catalog.pg_statistic_ext JOIN used ON used.oid = stxrelid
    UNION ALL
    SELECT ev_class, 'pg_catalog.pg_rewrite'::pg_catalog.regclass::oid, pg_rewrite.oid
    FROM pg_catalog.pg_rewrite JOIN used ON used.oid = ev_class
    UNION ALL
    SELECT attrelid, 'pg_catalog.pg_type'::pg_catalog.regclass::oid, atttypid
    FROM pg_catalog.pg_attribute JOIN used ON used.oid = attrelid
    WHERE attnum > 0 AND NOT attisdropped AND atttypid >= 16384
    UNION ALL
    SELECT attrelid, 'pg_catalog.pg_collation'::pg_catalog.regclass::oid, attcollation
    FROM pg_catalog.pg_attribute JOIN used ON used.oid = attrelid
    WHERE attnum > 0 AND NOT attisdropped AND attcollation >= 16384
    UNION ALL
    SELECT conrelid, 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, pg_constraint.oid
    FROM pg_catalog.pg_constraint JOIN used ON used.oid = conrelid
    WHERE is_written
    UNION ALL
    SELECT adrelid, 'pg_catalog.pg_attrdef'::pg_catalog.regclass::oid, pg_attrdef.oid
    FROM pg_catalog.pg_attrdef JOIN used ON used.oid = adrelid
    JOIN pg_catalog.pg_attribute ON attrelid = adrelid AND attnum = adnum
    WHERE is_written OR attgenerated = 'v'
    UNION ALL
    SELECT tgrelid, 'pg_catalog.pg_trigger'::pg_catalog.regclass::oid, pg_trigger.oid
    FROM pg_catalog.pg_trigger JOIN used ON used.oid = tgrelid
    WHERE is_written AND NOT tgisinternal
),
-- The constraints of a domain depend on the domain, the columns of a composite type on its relation.
reached (of_table, classid, objid) AS (
    SELECT of_table, classid, objid FROM part
    UNION
    SELECT of_table, next.classid, next.objid
    FROM reached CROSS JOIN LATERAL (
        SELECT refclassid AS classid, refobjid AS objid FROM pg_catalog.pg_depend AS needs
        WHERE needs.classid = reached.classid AND needs.objid = reached.objid AND refobjid >= 16384
            AND (refclassid IN (
                    'pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass,
                    'pg_catalog.pg_opclass'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass,
                    'pg_catalog.pg_collation'::pg_catalog.regclass
                )
                OR refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND needs.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND refobjid <> of_table)
        UNION ALL
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::oid, oid FROM pg_catalog.pg_constraint
        WHERE reached.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND contypid = reached.objid
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, typrelid FROM pg_catalog.pg_type
        WHERE reached.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND pg_type.oid = reached.objid AND typtype = 'c'
    ) AS next
),
object (of_table, classid, objid, owner) AS (
    SELECT NULL::oid, 'pg_catalog.pg_namespace'::pg_catalog.regclass::oid, oid, nspowner
    FROM pg_catalog.pg_namespace WHERE nspname = ANY (%(own)s)
    UNION ALL
    SELECT NULL, 'pg_catalog.pg_class'::pg_catalog.regclass::oid, oid, relowner
    FROM pg_catalog.pg_class WHERE oid IN (SELECT oid FROM written)
    UNION ALL
    SELECT NULL, 'pg_catalog.pg_event_trigger'::pg_catalog.regclass::oid, oid, evtowner
    FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D'
    UNION ALL
    SELECT NULL, 'pg_catalog.pg_proc'::pg_catalog.regclass::oid, pg_proc.oid, proowner
    FROM pg_catalog.pg_event_trigger JOIN pg_catalog.pg_proc ON pg_proc.oid = evtfoid WHERE evtenabled <> 'D'
    UNION ALL
    SELECT of_table, classid, objid, owned.owner
    FROM reached CROSS JOIN LATERAL (
        SELECT proowner FROM pg_catalog.pg_proc
        WHERE reached.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND oid = objid
        UNION ALL
        SELECT oprowner FROM pg_catalog.pg_operator
        WHERE reached.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND oid = objid
        UNION ALL
        SELECT opcowner FROM pg_catalog.pg_opclass
        WHERE reached.classid = 'pg_catalog.pg_opclass'::pg_catalog.regclass AND oid = objid
        UNION ALL
        SELECT typowner FROM pg_catalog.pg_type
        WHERE reached.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND oid = objid
        UNION ALL
        SELECT collowner FROM pg_catalog.pg_collation
        WHERE reached.classid = 'pg_catalog.pg_collation'::pg_catalog.regclass AND oid = objid
        UNION ALL
        SELECT relowner FROM pg_catalog.pg_class
        WHERE reached.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND oid = objid AND relkind NOT IN ('i', 'I', 'c')
    ) AS owned (owner)
)
SELECT DISTINCT
    pg_catalog.pg_describe_object(classid, objid, 0), pg_catalog.pg_get_userbyid(owner)::text,
    CASE WHEN of_table IS NOT NULL THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, of_table, 0) END
FROM object WHERE owner = ANY (%(untrusted)s::oid[])
ORDER BY 3 NULLS FIRST, 1

-- name: foreign_target_schema
-- The owner of the target schema, unless it is trusted: the migrating role, the owner of the database or, where the role is no superuser,
-- a group that it is a member of.
SELECT rolname::text FROM pg_catalog.pg_namespace JOIN pg_catalog.pg_roles ON pg_roles.oid = nspowner
WHERE nspname = %(schema)s AND rolname <> 'pg_database_owner' AND rolname <> ALL (%(trusted)s)
    AND NOT pg_catalog.pg_has_role(nspowner, current_user, 'MEMBER')
    AND nspowner <> (SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
    AND NOT (pg_catalog.pg_has_role(nspowner, 'USAGE') AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))

-- name: foreign_in_own_schemas
-- A cheaper form of foreign_objects for Firelift's own schemas, which is run often: schemas, tables and the functions of their triggers,
-- without the types of columns.
WITH own AS (
    SELECT class.oid, relowner FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = ANY (%(own)s) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
),
object (classid, objid, owner, of_table) AS (
    SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, nspowner, NULL::oid
    FROM pg_catalog.pg_namespace WHERE nspname = ANY (%(own)s)
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relowner, NULL FROM own
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, function.oid, proowner, own.oid
    FROM own JOIN pg_catalog.pg_trigger ON tgrelid = own.oid JOIN pg_catalog.pg_proc AS function ON function.oid = tgfoid
    WHERE NOT tgisinternal
)
SELECT pg_catalog.pg_describe_object(classid, objid, 0), pg_catalog.pg_get_userbyid(owner)::text,
    CASE WHEN of_table IS NOT NULL THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, of_table, 0) END
FROM object WHERE NOT pg_catalog.pg_has_role(owner, current_user, 'MEMBER')
ORDER BY 3 NULLS FIRST, 1

-- name: foreign_grantees
-- Roles without power over the migrating role that may do more in a schema than read.
SELECT DISTINCT rolname FROM (
    SELECT nspacl AS acl FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s
    UNION ALL
    SELECT relacl FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace WHERE nspname = %(schema)s
) AS granted CROSS JOIN LATERAL pg_catalog.aclexplode(acl) AS entry
JOIN pg_catalog.pg_roles AS role ON role.oid = grantee
WHERE privilege_type NOT IN ('USAGE', 'SELECT') AND NOT pg_catalog.pg_has_role(role.oid, current_user, 'MEMBER')

-- name: foreign_owners
SELECT relname, pg_catalog.pg_get_userbyid(relowner)::text
FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
WHERE nspname = %(schema)s AND relname = ANY (%(tables)s) AND NOT pg_catalog.pg_has_role(relowner, current_user, 'MEMBER')

-- name: foreign_and_deferrable
-- Deferrable triggers and exclusion constraints of untrusted roles in any schema: they run at the end of a transaction.
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_trigger'::pg_catalog.regclass, pg_trigger.oid, 0)
FROM pg_catalog.pg_trigger JOIN pg_catalog.pg_proc ON pg_proc.oid = tgfoid JOIN pg_catalog.pg_class ON pg_class.oid = tgrelid
WHERE NOT tgisinternal AND tgdeferrable AND NOT (
    pg_catalog.pg_has_role(proowner, current_user, 'MEMBER') AND pg_catalog.pg_has_role(relowner, current_user, 'MEMBER')
)
UNION ALL
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, pg_constraint.oid, 0)
FROM pg_catalog.pg_constraint JOIN pg_catalog.pg_class ON pg_class.oid = conrelid
WHERE contype = 'x' AND condeferrable AND NOT pg_catalog.pg_has_role(relowner, current_user, 'MEMBER')
