"""Connecting to the target."""

from __future__ import annotations

import pickle
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from firelift.errors import ConfigurationError, FireliftError
from firelift.local.postgres import PostgresServer
from firelift.local.server import free_port
from firelift.postgres.session import errors
from firelift.postgres.session.connect import connect, parameters_of
from firelift.postgres.session.errors import refusal
from firelift.settings.settings import Settings
from tests.support.postgres_tables import ODD, values


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_is_understood(database_url: str, scheme: str) -> None:
    with closing(connect(f"{scheme}://{database_url.partition('://')[2]}", "firelift-test")) as connection:
        assert values(connection, "SELECT current_database()") == [urlsplit(database_url).path[1:]]


def test_the_session_does_not_depend_on_the_defaults_of_the_database(database_url: str) -> None:
    name = urlsplit(database_url).path[1:]
    odd = ODD | {"session_replication_role": "replica", "synchronous_commit": "off"}
    with closing(psycopg.connect(database_url, autocommit=True)) as admin:
        for setting, value in odd.items():
            admin.execute(f"ALTER DATABASE {name} SET {setting} = {value}".encode())
    with closing(connect(database_url, "firelift-test")) as connection:
        shown = {setting: values(connection, f"SHOW {setting}")[0] for setting in (*odd, "application_name")}
    assert shown == {
        "DateStyle": "ISO, MDY",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "application_name": "firelift-test",
        "array_nulls": "on",
        "backslash_quote": "safe_encoding",
        "bytea_output": "hex",
        "client_encoding": "UTF8",
        "default_transaction_deferrable": "off",
        "default_transaction_isolation": "read committed",
        "exit_on_error": "off",
        "extra_float_digits": "1",
        "gin_fuzzy_search_limit": "0",
        "idle_in_transaction_session_timeout": "0",
        "idle_session_timeout": "0",
        "jit": "off",
        "lock_timeout": "1min",
        "quote_all_identifiers": "off",
        "row_security": "off",
        "search_path": "pg_catalog, pg_temp",
        "session_replication_role": "origin",
        "standard_conforming_strings": "on",
        "statement_timeout": "0",
        "synchronous_commit": "on",
        "transform_null_equals": "off",
        "xmloption": "content",
    }


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not a url",
        "mysql://u:hunter2@h/db",
        "postgresql://u:hunter2%zz@h/db",
        "postgresql://u:hun/ter2@h/db",
        "postgresql://u:12/hunter2@h/db",
        "postgresql://u:hunter@2@h/db",
        "postgresql://u:[YOUR-PASSWORD]@h/db",
        "postgresql://u:hunter2@h:port/db",
    ],
)
def test_a_url_that_cannot_be_read_is_a_configuration_error_without_the_url(url: str) -> None:
    with pytest.raises(errors.InvalidDatabaseUrl) as caught:
        parameters_of(url)
    assert isinstance(caught.value, ConfigurationError)
    assert "hunter" not in f"{caught.value!s}{caught.value!r}{caught.value.__cause__}"


@pytest.mark.parametrize("end", ["/postgres", "/postgres?pgbouncer=true&connection_limit=1", "?sslmode=require", ""])
def test_the_transaction_pooler_is_refused_with_the_way_out(end: str) -> None:
    with pytest.raises(errors.TransactionPooler, match="session pooler"):
        parameters_of(f"postgresql://postgres.ref:secret@aws-0-eu-west-1.pooler.supabase.com:6543{end}")


def test_what_prisma_adds_to_a_url_is_left_out() -> None:
    given = parameters_of("postgres://u:p@h:5432/db?schema=public&sslmode=require&pgbouncer=true")
    assert given == {"user": "u", "password": "p", "host": "h", "port": "5432", "dbname": "db", "sslmode": "require"}


def test_nobody_listening_is_unreachable_and_worth_a_retry() -> None:
    port = free_port()
    with pytest.raises(errors.PostgresUnreachable, match=f"127.0.0.1:{port}") as caught:
        connect(f"postgresql://u:hunter2@127.0.0.1:{port}/db", "firelift-test")
    assert caught.value.recovery == "automatic"


def test_a_host_without_an_address_is_unreachable() -> None:
    with pytest.raises(errors.PostgresUnreachable, match=r"nowhere\.invalid"):
        connect("postgresql://u:hunter2@nowhere.invalid/db", "firelift-test")


def test_a_wrong_password_names_the_user_and_never_the_password(postgres: PostgresServer) -> None:
    with pytest.raises(errors.WrongPassword, match="user: postgres") as caught:
        connect(postgres.url(password="hunter2"), "firelift-test")
    assert "hunter2" not in f"{caught.value!s}{caught.value.__cause__!s}"
    assert isinstance(caught.value, ConfigurationError)


def test_a_missing_password_is_a_wrong_password(postgres: PostgresServer) -> None:
    with pytest.raises(errors.WrongPassword):
        connect(f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres", "firelift-test")


def test_a_missing_database_is_named(postgres: PostgresServer) -> None:
    with pytest.raises(errors.DatabaseMissing, match="database: no such db"):
        connect(postgres.url("no such db"), "firelift-test")


def test_asking_for_tls_where_there_is_none_says_so(database_url: str) -> None:
    with pytest.raises(errors.TlsNotOffered, match="sslmode"):
        connect(f"{database_url}?sslmode=require", "firelift-test")


def test_where_tls_is_required_a_server_without_it_is_refused_before_it_hears_the_password(database_url: str) -> None:
    required = Settings.load(database_url=f"{database_url}?sslmode=disable", require_tls=True).target_url()
    with pytest.raises(errors.TlsNotOffered, match="require-tls") as caught:
        connect(required, "firelift-test")
    assert caught.value.exit_code == 2


# What servers that these tests cannot start say, word for word.
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('FATAL:  no pg_hba.conf entry for host "192.0.2.1", user "u", database "d", no encryption', errors.TlsRequired),
        ("FATAL:  Tenant or user not found", errors.WrongPassword),
        ("FATAL:  sorry, too many clients already", errors.TooManyConnections),
        (
            "FATAL:  MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size",
            errors.TooManyConnections,
        ),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", errors.TooManyConnections),
        ("FATAL:  the database system is starting up", errors.PostgresNotReady),
        ("connection timeout expired", errors.PostgresUnreachable),
        ("SSL error: certificate verify failed", errors.TlsNotTrusted),
        ("FATAL:  something new", errors.CannotConnect),
    ],
)
def test_a_refusal_has_its_own_error(said: str, kind: type[FireliftError]) -> None:
    assert type(refusal(psycopg.OperationalError(said), server="h:5432")) is kind


def test_errors_of_this_room_pickle() -> None:
    error = errors.ConnectionLost(doing="loading chunk 7")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (errors.ConnectionLost, str(error))
