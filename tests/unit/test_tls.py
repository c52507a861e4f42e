"""The way to the target is encrypted where it must be."""

from __future__ import annotations

import pytest

from firelift.settings.settings import Settings
from firelift.settings.target import Target
from firelift.settings.tls import hosts_of, is_beyond, with_tls

DIRECT = "postgresql://postgres:p@db.abc.supabase.co:5432/postgres"
POOLER = "postgresql://postgres.abc:p@aws-0-eu-west-1.pooler.supabase.com/postgres"
OTHER = "postgresql://u:p@db.example.com/db"


@pytest.mark.parametrize(
    "url", [DIRECT, POOLER, "postgresql://u:p@DB.ABC.SUPABASE.CO./postgres", "postgresql:///db?host=db.abc.supabase.co"]
)
def test_supabase_is_reached_with_tls_or_not_at_all(url: str) -> None:
    assert with_tls(url, None, {}).endswith("sslmode=require")
    assert with_tls(url, False, {}) == url


@pytest.mark.parametrize("weak", ["disable", "allow", "prefer"])
def test_a_weaker_wish_in_the_url_gives_way(weak: str) -> None:
    assert with_tls(f"{DIRECT}?sslmode={weak}", None, {}) == f"{DIRECT}?sslmode={weak}&sslmode=require"
    assert with_tls(f"{OTHER}?sslmode={weak}", True, {}).endswith("&sslmode=require")


@pytest.mark.parametrize("strong", ["require", "verify-ca", "verify-full"])
def test_a_stronger_wish_in_url_or_environment_stays(strong: str) -> None:
    assert with_tls(f"{DIRECT}?sslmode={strong}", True, {}) == f"{DIRECT}?sslmode={strong}"
    assert with_tls(DIRECT, True, {"PGSSLMODE": strong}) == DIRECT


@pytest.mark.parametrize("url", [OTHER, "postgresql://u@localhost/db", "postgresql:///db", "postgresql://u@supabase.co.example.com/db"])
def test_others_are_left_to_their_url(url: str) -> None:
    assert with_tls(url, None, {}) == url


def test_every_command_that_opens_the_target_requires_it_alike() -> None:
    assert Settings.load(database_url=DIRECT).target_url() == Target.load(database_url=DIRECT).url() == f"{DIRECT}?sslmode=require"
    assert Target.load(database_url=OTHER, require_tls=True).url() == f"{OTHER}?sslmode=require"


def test_hosts_are_read_from_url_and_environment() -> None:
    assert hosts_of("postgresql://u:p@[::1]:5432,b:1,c/db", {}) == ["::1", "b", "c"]
    assert hosts_of("postgresql:///db", {"PGHOST": "db.abc.supabase.co"}) == ["db.abc.supabase.co"]


@pytest.mark.parametrize(
    ("host", "address", "beyond"),
    [
        ("localhost", "127.0.0.1", False),
        ("localhost", "", False),
        ("::1", "::1", False),
        ("/var/run/postgresql", "", False),
        ("", "", False),
        ("mine", "127.0.1.1", False),
        ("db.example.com", "192.0.2.7", True),
        ("db.example.com", "", True),
        ("10.0.0.7", "", True),
    ],
)
def test_what_leaves_this_machine_is_told(host: str, address: str, beyond: bool) -> None:
    assert is_beyond(host, address) is beyond
