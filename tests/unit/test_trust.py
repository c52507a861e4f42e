"""Whom the user trusts travels with the database URL."""

from __future__ import annotations

import pytest

from firelift.postgres.session.connect import parameters_of
from firelift.settings.settings import Settings
from firelift.settings.trusted_owners import trusted_in, with_trusted

URL = "postgresql://u:p@h:5432/db"


@pytest.mark.parametrize("url", [URL, f"{URL}?sslmode=require", f"{URL}?pgbouncer=true&sslmode=require"])
@pytest.mark.parametrize("owners", [(), ("app",), ("app", "a, b&c=d?", "é")])
def test_owners_come_out_as_they_went_in_and_postgresql_hears_nothing_of_them(url: str, owners: tuple[str, ...]) -> None:
    assert trusted_in(with_trusted(url, owners)) == owners
    assert parameters_of(with_trusted(url, owners)) == parameters_of(url)


def test_the_setting_names_them() -> None:
    assert trusted_in(Settings.load(database_url=URL, trust_owner="app, other").target_url()) == ("app", "other")
