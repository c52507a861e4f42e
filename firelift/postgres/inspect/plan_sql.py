"""The SQL that makes the tables of a plan which the target does not have yet, as publishing will."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from firelift.planning.model import TablePlan
from firelift.planning.references import relations_of
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.schema import ddl
from firelift.postgres.schema.privileges import access_to_new_table, access_to_schema, existing_api_roles
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import schema_exists
from firelift.postgres.session.queries import QUERY

UNLESS_ORPHANED = "-- only if every row refers to a row that is there\n"


def statements_for_new_tables(
    connection: Connection | None, schema: str, plans: Sequence[TablePlan], foreign_keys: ForeignKeys, others: Sequence[TablePlan] = ()
) -> tuple[str, ...]:
    """Statement by statement, without semicolons; reads only. Without a connection: as for an empty database.

    `others` are published tables that the run leaves alone and to which new ones may refer. A statement that depends on the rows has a line
    before it that says so. What becomes of tables that exist is not in it.
    """
    if connection is None:
        return tuple(statements(schema, plans, foreign_keys, others, makes_schema=schema != "public"))
    with translated("looking for what the target has already"):
        taken = {str(name) for (name,) in connection.execute(QUERY["relation_names"], {"schemas": [schema]})}
        roles, makes_schema = existing_api_roles(connection), not schema_exists(connection, schema)
    return tuple(statements(schema, plans, foreign_keys, others, taken, roles, makes_schema=makes_schema))


def statements(
    schema: str,
    plans: Sequence[TablePlan],
    foreign_keys: ForeignKeys,
    others: Sequence[TablePlan] = (),
    taken: Collection[str] = (),
    roles: Collection[str] = (),
    *,
    makes_schema: bool = False,
) -> Iterator[str]:
    """As `statements_for_new_tables`. `taken` are the names of relations in the schema, `roles` those of Supabase's API that exist."""
    new = [plan.table for plan in plans if plan.table not in taken]
    if not new:
        return
    planned = ddl.planned_tables(schema, [*plans, *others], taken)
    if makes_schema:
        yield ddl.create_schema(schema).as_string()
        yield from (statement.as_string() for statement in access_to_schema(schema, roles))
    for table in new:
        yield planned.table(table).as_string()
    for table in new:
        yield from (statement.as_string() for statement in access_to_new_table(schema, table, roles))
    for relation in relations_of([*plans, *others]) if foreign_keys != "off" else ():
        if relation.table in new:
            condition = "" if foreign_keys == "strict" and relation.kind == "link" else UNLESS_ORPHANED
            made = (*(planned.index(relation) or ()), *planned.foreign_key(relation))
            yield from (condition + statement.as_string() for statement in made)


def as_script(statements: Sequence[str]) -> str:
    """As a file for psql."""
    return "".join(f"{statement};\n" for statement in statements)
