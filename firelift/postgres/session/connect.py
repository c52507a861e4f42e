"""Connections to the target, each with a session that does not depend on the server's defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from firelift.postgres.session.connection import Connection as Connection
from firelift.postgres.session.errors import InvalidDatabaseUrl, TransactionPooler, UnknownParameter, refusal, translated
from firelift.postgres.session.foreign_owners import refuse_foreign_in_own
from firelift.postgres.session.liveness import ANSWER, WatchedConnection, at_most, watch
from firelift.postgres.session.queries import QUERY
from firelift.settings.secret_shapes import may_be_shown
from firelift.settings.trusted_owners import PARAMETER, trusted_in

TRANSACTION_POOLER_PORT = "6543"
# NAMEDATALEN - 1; PostgreSQL would cut it too, with a notice.
LONGEST_NAME = 63

SEARCH_PATH = b"SET search_path TO pg_catalog, pg_temp"

# A dead peer is noticed after about two minutes from either side, also one that disappears while data is on its way to it: keepalives are
# not sent then, and Linux alone would keep sending for a quarter of an hour.
DEFAULTS = {
    "connect_timeout": "15",
    "keepalives": "1",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}


# Parameters of Prisma, Supabase, SQLAlchemy's drivers, node-postgres and JDBC, as they occur in URLs that their tools show for copying.
# They configure the other client's own pool, cache and schema. Those about encryption are not here: ignoring one would weaken it.
OTHER_CLIENTS = frozenset(
    {
        *(PARAMETER, "pgbouncer", "connection_limit", "pool_timeout", "schema", "statement_cache_size", "socket_timeout", "supa"),
        *("prepared_statement_cache_size", "prepared_statements", "prepareThreshold", "preparedStatementCacheQueries", "workaround"),
        *("pool_size", "max_overflow", "pool_mode", "pool_recycle", "uselibpqcompat", "binaryTransfer", "reWriteBatchedInserts"),
        *("currentSchema", "ApplicationName", "pool", "max_connections", "single_threaded", "command_timeout"),
    }
)


def connect(url: str, application_name: str) -> Connection:
    """Opens a connection in autocommit mode: whatever must be whole says `with connection.transaction()`.

    The session is in UTC and finds nothing without its schema but what is PostgreSQL's own. A control schema that is somebody else's is
    refused (BelongsToAnother). `keepalives_idle` and
    `keepalives_interval` of the URL also say when and how often a wait is looked into (see `firelift.postgres.session.liveness`). Raises
    InvalidDatabaseUrl, TransactionPooler and the errors of `firelift.postgres.session.errors.REFUSALS`.
    """
    given = parameters_of(url)
    ours = {"application_name": application_name[:LONGEST_NAME], "client_encoding": "UTF8"}
    parameters: dict[str, Any] = {**DEFAULTS, **given, **ours}
    another = partial(_open, parameters)
    try:
        connection = another()
    except psycopg.Error as error:
        raise refusal(error, **_facts(given)) from error
    try:
        with translated("preparing the session"), at_most(connection, ANSWER):
            connection.execute(QUERY["prepare_session"])
            refuse_foreign_in_own(connection, "firelift")
            connection.trusted = trusted_in(url)
            watch(connection, another, _seconds(parameters, "keepalives_idle"), _seconds(parameters, "keepalives_interval"))
    except BaseException:
        connection.close()
        raise
    return connection


def _open(parameters: dict[str, Any]) -> WatchedConnection:
    # Prepared statements do not survive a pooler that changes servers.
    connection = WatchedConnection.connect(**parameters, autocommit=True, prepare_threshold=None)
    try:
        with at_most(connection, ANSWER):
            # First of all, and without calling anything: by the path of the role a function or table might be somebody else's.
            connection.execute(SEARCH_PATH)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(url: str, application_name: str) -> Connection:
    """As `connect`, for looking only: the server lets nothing be written over it."""
    connection = connect(url, application_name)
    try:
        with translated("preparing to read the tables"):
            connection.execute("SET default_transaction_read_only TO on")
    except BaseException:
        connection.close()
        raise
    return connection


_kept: dict[tuple[str, str, bool], Connection] = {}


def kept_open(url: str, application_name: str, *, read_only: bool = False) -> Connection:
    """This process's own connection, for call after call; a broken one is replaced. Not for use by two threads."""
    kept = _kept.get((url, application_name, read_only))
    if kept is None or kept.closed or kept.broken:
        kept = connect_to_read(url, application_name) if read_only else connect(url, application_name)
        _kept[url, application_name, read_only] = kept
    return kept


@dataclass(frozen=True)
class Session:
    """Where to connect and under which name: opens the connections of one piece of work. It can be sent to another process."""

    url: str = field(repr=False)
    application_name: str

    def connect(self) -> Connection:
        """A connection that the caller closes; see `connect`."""
        return connect(self.url, self.application_name)

    def connect_to_read(self) -> Connection:
        """A connection that the server lets only read, and that the caller closes."""
        return connect_to_read(self.url, self.application_name)

    @contextmanager
    def open(self) -> Iterator[Connection]:
        """A connection that is closed at the end."""
        with closing(self.connect()) as connection:
            yield connection

    @contextmanager
    def open_to_read(self) -> Iterator[Connection]:
        """A connection that the server lets only read, closed at the end."""
        with closing(self.connect_to_read()) as connection:
            yield connection

    def kept_open(self, *, read_only: bool = False) -> Connection:
        """This process's own connection; see `kept_open`."""
        return kept_open(self.url, self.application_name, read_only=read_only)


def _seconds(parameters: dict[str, Any], name: str) -> int:
    # With 0 libpq leaves it to the system, whose default is hours.
    return int(parameters[name]) or int(DEFAULTS[name])


def parameters_of(url: str) -> dict[str, str]:
    """The connection parameters in a database URL, for libpq."""
    plain = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", url.strip())
    if not plain.startswith("postgresql://"):
        raise InvalidDatabaseUrl()
    plain = _for_libpq(plain)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(plain).items()}
    except psycopg.Error:
        # From nothing: libpq quotes the part it could not read.
        raise InvalidDatabaseUrl() from None
    if not _plausible(given):
        raise InvalidDatabaseUrl()
    if TRANSACTION_POOLER_PORT in given.get("port", "").split(","):
        raise TransactionPooler(**_facts(given))
    return given


def _for_libpq(url: str) -> str:
    """Without what other clients take from a URL and libpq does not know; raises UnknownParameter for what nobody does."""
    # libpq takes a ? before the first @ for a part of the password.
    user = re.match(r"postgresql://[^/@]*@|", url)
    start = user.end() if user else 0
    address, separator, query = url[start:].partition("?")
    address = url[:start] + address
    parts = [part for part in query.split("&") if part]
    names = {part: unquote(part.partition("=")[0]) for part in parts}
    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {"ssl"}
    strange = sorted(name for name in names.values() if name not in known | OTHER_CLIENTS)
    # A ? in the password makes a parameter of its rest: only a plain word that is no part of the address may be named.
    shown = all(re.fullmatch(r"[a-z][a-z_]{1,30}", name) and may_be_shown(name) and name not in address for name in strange)
    if strange and shown and "@" not in query:
        raise UnknownParameter(parameters=", ".join(strange))
    return address + separator + "&".join(part for part in parts if names[part] not in OTHER_CLIENTS) if query else address


def _plausible(given: dict[str, str]) -> bool:
    # An unescaped @ or / in the password moves a part of it into host, port or database.
    ports = [port for port in given.get("port", "").split(",") if port]
    misplaced = any("@" in given.get(name, "") for name in ("host", "dbname"))
    return all(port.isdigit() for port in ports) and not misplaced and given.get("password") != "[YOUR-PASSWORD]"


def _facts(given: dict[str, str]) -> dict[str, object]:
    facts: dict[str, object] = {"server": f"{given.get('host', 'localhost')}:{given.get('port', '5432')}"}
    return facts | {said: given[name] for name, said in (("user", "user"), ("dbname", "database")) if name in given}
