"""Parameters in a database URL that are other clients' own are passed over, and unknown ones are named."""

from __future__ import annotations

import pickle

import pytest

from firelift.postgres.session.connect import Session, parameters_of
from firelift.postgres.session.errors import InvalidDatabaseUrl, UnknownParameter

PLAIN = {"user": "u", "password": "p", "host": "h", "port": "5432", "dbname": "db"}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?supa=base-pooler.x",
        "?pgbouncer=true",
        "?schema=public",
        "?pgbouncer=true&connection_limit=1&pool_timeout=0",
        "?statement_cache_size=0&workaround=supabase-pooler.vercel",
        "?prepareThreshold=0&currentSchema=public",
        "?%73chema=public&",
    ],
)
def test_what_is_for_other_clients_is_passed_over(query: str) -> None:
    assert parameters_of(f"postgresql://u:p@h:5432/db{query}") == PLAIN


def test_what_stands_beside_it_is_kept() -> None:
    found = parameters_of(
        "postgresql://u:p@h:5432/db?schema=x&sslmode=require&supa=y&connect_timeout=3&pgbouncer=true&application_name=a%26b"
    )
    assert found == PLAIN | {"sslmode": "require", "connect_timeout": "3", "application_name": "a&b"}


@pytest.mark.parametrize(
    ("query", "named"), [("?sslmod=require", "sslmod"), ("?sslmode=require&poolsize=2", "poolsize"), ("?sslaccept=strict", "sslaccept")]
)
def test_what_nobody_knows_is_named_and_the_password_is_not_blamed(query: str, named: str) -> None:
    with pytest.raises(UnknownParameter, match=named) as caught:
        parameters_of(f"postgresql://u:p@h:5432/db{query}")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("password", ["a?Secret", "a?Secret=1", "a?schema=x"])
def test_a_question_mark_in_a_password_belongs_to_it(password: str) -> None:
    assert parameters_of(f"postgresql://u:{password}@h:5432/db?schema=y") == PLAIN | {"password": password}


@pytest.mark.parametrize("password", ["a?b@Secret", "a/?Secret", "a@b?Secret=1"])
def test_a_password_that_cannot_be_told_from_parameters_is_not_shown(password: str) -> None:
    with pytest.raises((UnknownParameter, InvalidDatabaseUrl)) as caught:
        parameters_of(f"postgresql://u:{password}@h:5432/db")
    assert "Secret" not in f"{caught.value} {caught.value!r}"


def test_a_session_goes_to_another_process_whole_and_shows_no_password() -> None:
    session = Session("postgresql://postgres:hunter2@db.example.com/postgres", "firelift run")
    assert pickle.loads(pickle.dumps(session)) == session
    assert "hunter2" not in f"{session} {session!r}"
