"""Whether a target can take a migration, found out without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from firelift.errors import ConfigurationError, FireliftError
from firelift.formatting import counted
from firelift.planning.absent_fields import Lacking
from firelift.planning.build import ForecastTables, TableConflict, TableForecast, table_conflicts
from firelift.planning.model import TablePlan
from firelift.planning.references import relations_of
from firelift.postgres.schema.compatibility import existing_tables, foreseen_incompatibilities, incompatibilities, unrecorded
from firelift.postgres.schema.control_schema import CONTROL_SCHEMA, saved_plans
from firelift.postgres.schema.name_conflicts import NamesTaken, in_the_way, summary
from firelift.postgres.schema.names import SCRATCH, backup_schema, scratch_schema, staging_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import TargetReadOnly, TooManyConnections, translated
from firelift.postgres.session.foreign_owners import (
    BelongsToAnother,
    SchemaOfAnother,
    belongs_to_another,
    foreign_objects,
    refuse_foreign_schema,
)
from firelift.postgres.session.lock import session_of
from firelift.postgres.session.lock_capacity import CREATED, REPLACED, lock_room, locks_for
from firelift.postgres.session.queries import QUERY
from firelift.settings.tls import is_beyond

OLDEST_SERVER = 130000
UNENCRYPTED = (
    "The connection to {host} is not encrypted: password and rows can be read on the way. Let the server offer TLS; see --require-tls."
)

LOCKS = (
    "Publishing {tables} in one transaction, or taking them back, needs some {needed:,} locks, and the server promises room for "
    "{room.locks:,}: raise max_locks_per_transaction from {room.setting} to {enough}, for which it has to be restarted."
)


class ServerTooOld(ConfigurationError):
    """The PostgreSQL server is older than version 13."""

    remedy = "Upgrade the server."


class NotUtf8(ConfigurationError):
    """The database's encoding is not UTF8, so it cannot hold every Firestore string."""

    remedy = "Create a database with ENCODING 'UTF8' TEMPLATE template0 and migrate into that."


class NoRightToCreateSchemas(ConfigurationError):
    """The role may not create schemas in this database, and Firelift needs one of its own and one for staging."""

    remedy = "As the database's owner: GRANT CREATE ON DATABASE … TO the role; or connect as the owner (on Supabase: postgres)."


class NoRightToCreateTables(ConfigurationError):
    """The role may not create tables in the target schema."""

    remedy = "As the schema's owner: GRANT USAGE, CREATE ON SCHEMA … TO the role; or choose another with --target-schema."


class ControlSchemaClosed(ConfigurationError):
    """The control schema belongs to another role and this one may not use it."""

    remedy = "Connect as the role that made the earlier migrations."


class ReservedSchema(ConfigurationError):
    """This schema cannot be the target."""

    remedy = "Choose another with --target-schema; public is the default."


class TableOfAnother(ConfigurationError):
    """A collection would get the table in which another collection is published, and replace its rows."""

    remedy = "Give its table another name with --mapping; if the other collection is no longer needed, drop its table and run again."


class Server(NamedTuple):
    """What the server reports about itself, in the order of the query `server_facts`."""

    version_number: int
    version: str
    encoding: str
    in_recovery: bool
    read_only: bool
    database: str
    user: str
    may_create_schemas: bool


def forecast_nothing(earlier: Mapping[str, TablePlan]) -> TableForecast:
    return TableForecast()


def check_target(
    url: str, migration_id: str, target_schema: str, forecast_tables: ForecastTables = forecast_nothing, connections: int = 2
) -> list[FireliftError]:
    """Connects and returns everything that prevents the migration; an empty list is a target that can take it.

    `connections` is how many the run will open. Raises only where no connection comes about.
    """
    with session_of(url, migration_id).open() as connection, translated("checking the target"):
        connection.read_only = True
        with connection.transaction():
            if foreign := foreign_problems(connection, migration_id, target_schema):
                return foreign
            try:
                return problems(connection, target_schema, forecast_tables, connections)
            except BelongsToAnother as problem:
                return [problem]


def foreign_problems(connection: Connection, migration_id: str, target_schema: str) -> list[FireliftError]:
    """Objects of other roles in the schemas that the run will use."""
    own = [CONTROL_SCHEMA, staging_schema(migration_id), backup_schema(migration_id), scratch_schema(migration_id)]
    found = foreign_objects(connection, own=own)
    try:
        refuse_foreign_schema(connection, target_schema)
    except SchemaOfAnother as problem:
        return [problem]
    return [belongs_to_another(connection, found)] if found else []


class Reached(NamedTuple):
    """The server, and a warning about the connection to it."""

    version: str | None
    """As the server reports it: `15.8`."""
    warning: str | None


def reach(url: str, migration_id: str) -> Reached:
    """Connects; warns of a connection to another machine that is not encrypted."""
    with session_of(url, migration_id).open() as connection:
        info = connection.info
        is_open = not connection.pgconn.ssl_in_use and is_beyond(info.host, info.hostaddr)
        warning = UNENCRYPTED.format(host=info.host or info.hostaddr) if is_open else None
        return Reached(info.parameter_status("server_version"), warning)


class ServerNow(NamedTuple):
    """The server's clock, and the size of the database in bytes."""

    moment: datetime
    database_bytes: int


def server_now(url: str, migration_id: str) -> ServerNow:
    with session_of(url, migration_id).open_to_read() as connection, translated("asking the target for its clock and size"):
        row = connection.execute(QUERY["server_now"]).fetchone()
        assert row is not None, "a SELECT without FROM has one row"
        return ServerNow(*row)


def problems(connection: Connection, target_schema: str, forecast_tables: ForecastTables, connections: int) -> list[FireliftError]:
    row = connection.execute(QUERY["server_facts"]).fetchone()
    assert row is not None, "a SELECT without FROM has one row"
    server = Server(*row)
    closed = _control_problems(connection, server)
    # The plans of published tables are in the control schema.
    forecast = forecast_tables({} if closed else saved_plans(connection, target_schema))
    return [
        *server_problems(server),
        *_schema_problems(connection, server, target_schema),
        *closed,
        *_connection_problems(connection, connections),
        *_name_problems(connection, target_schema, [*forecast.names, *(table.table for table, *_ in forecast.published)]),
        *(conflicts := _table_conflicts(connection, target_schema, forecast.table_conflicts)),
        *(foreseen_incompatibilities(connection, target_schema, forecast) if not conflicts else ()),
    ]


def check_tables(
    connection: Connection,
    target_schema: str,
    plans: Sequence[TablePlan],
    before: Mapping[str, TablePlan] | None = None,
    lacking: Mapping[str, Mapping[str, Lacking]] | None = None,
) -> list[FireliftError]:
    """Everything in the target that keeps these plans' tables from being made, or their rows from being replaced; nothing stays changed.

    `before` and `lacking` are those of `incompatibilities`. Worth asking as soon as there are plans: publishing asks again much later.
    """
    with translated("checking the target's tables"), connection.transaction():
        names = [plan.table for plan in plans]
        tables = {plan.collection: plan.table for plan in plans}
        if taken := _table_conflicts(connection, target_schema, table_conflicts(tables, saved_plans(connection, target_schema))):
            return taken
        return [
            *_name_problems(connection, target_schema, names),
            *(unrecorded(connection, target_schema, plans, before) if before is not None else ()),
            *incompatibilities(connection, target_schema, plans, before, lacking),
        ]


def lock_warning(connection: Connection, target_schema: str, plans: Sequence[TablePlan]) -> str | None:
    """A warning where these tables, published or rolled back in one transaction, may need more locks than the server has room for."""
    with translated("looking for room for locks"):
        existing, room = existing_tables(connection, target_schema, [plan.table for plan in plans]), lock_room(connection)
    links = Counter(relation.table for relation in relations_of(plans))
    needed = sum(locks_for(1, links[plan.table], REPLACED if plan.table in existing else CREATED) for plan in plans)
    if needed <= room.locks:
        return None
    return LOCKS.format(tables=counted(len(plans), "table"), needed=needed, room=room, enough=room.setting_for(needed))


def _table_conflicts(connection: Connection, target_schema: str, found: Sequence[TableConflict]) -> list[FireliftError]:
    """Those whose table still exists: the name of a dropped table is free."""
    existing = existing_tables(connection, target_schema, [conflict.table for conflict in found])
    return [
        TableOfAnother(collection=conflict.collection, table=f"{target_schema}.{conflict.table}", published_for=conflict.published_for)
        for conflict in found
        if conflict.table in existing
    ]


def _name_problems(connection: Connection, target_schema: str, names: Sequence[str]) -> list[FireliftError]:
    taken = in_the_way(connection, target_schema, names)
    return [NamesTaken(schema=target_schema, taken=summary(taken))] if taken else []


def server_problems(server: Server) -> list[FireliftError]:
    found: list[FireliftError] = []
    if server.version_number < OLDEST_SERVER:
        found.append(ServerTooOld(version=server.version))
    if server.encoding != "UTF8":
        found.append(NotUtf8(encoding=server.encoding, database=server.database))
    if server.in_recovery:
        found.append(TargetReadOnly(why="the server is a hot standby"))
    elif server.read_only:
        found.append(TargetReadOnly(why="default_transaction_read_only is on"))
    if not server.may_create_schemas:
        found.append(NoRightToCreateSchemas(role=server.user, database=server.database))
    return found


def _schema_problems(connection: Connection, server: Server, schema: str) -> list[FireliftError]:
    ours = schema.startswith(CONTROL_SCHEMA + "_") and not schema.startswith(SCRATCH)
    if ours or schema.startswith("pg_") or schema in (CONTROL_SCHEMA, "information_schema"):
        return [ReservedSchema(schema=schema)]
    rights = _rights(connection, schema)
    # A schema that is not there is made by publishing; the right to that is checked above.
    return [] if rights in (None, (True, True)) else [NoRightToCreateTables(role=server.user, schema=schema)]


def _control_problems(connection: Connection, server: Server) -> list[FireliftError]:
    rights = _rights(connection, CONTROL_SCHEMA)
    if rights is None:
        return []
    closed = [name for (name,) in connection.execute(QUERY["foreign_control_tables"])]
    if rights == (True, True) and not closed:
        return []
    return [ControlSchemaClosed(role=server.user, schema=CONTROL_SCHEMA, **({"tables": ", ".join(closed)} if closed else {}))]


def _rights(connection: Connection, schema: str) -> tuple[bool, bool] | None:
    row = connection.execute(QUERY["schema_facts"], {"schema": schema}).fetchone()
    return None if row is None else (bool(row[0]), bool(row[1]))


def _connection_problems(connection: Connection, needed: int) -> list[FireliftError]:
    row = connection.execute(QUERY["free_connections"]).fetchone()
    # This one is counted as taken and will be free again.
    free = row[0] + 1 if row else needed
    return [] if free >= needed else [TooManyConnections(free=free, needed=needed)]
