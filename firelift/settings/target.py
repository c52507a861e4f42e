"""The few settings of commands that look at a run or undo it: they work whatever else is set wrongly."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings

from firelift.settings.errors import MissingSetting
from firelift.settings.fields import (
    DATABASE_URL,
    MIGRATION_ID,
    REQUIRE_TLS,
    RETENTION,
    SOURCES,
    TARGET_SCHEMA,
    TRUST_OWNER,
    VERBOSE,
    WORKING_DIR,
    environment_names_in,
    option_name,
)
from firelift.settings.loading import load
from firelift.settings.tls import with_tls
from firelift.settings.trusted_owners import with_trusted
from firelift.settings.types import DatabaseUrl, Names, RunName, SchemaName, WorkingDir


class RunLocation(BaseSettings):
    """Where a run is: all that `firelift status` needs to know, whatever other settings are wrong."""

    model_config = SOURCES

    migration_id: RunName | None = MIGRATION_ID
    working_dir: WorkingDir = WORKING_DIR
    verbose: bool = VERBOSE

    @classmethod
    def load(cls, **options: object) -> Self:
        return load(cls, options)


class Target(BaseSettings):
    """Where the target is: all that undoing needs to know, whatever other settings are wrong."""

    model_config = SOURCES

    database_url: DatabaseUrl | None = DATABASE_URL
    require_tls: bool | None = REQUIRE_TLS
    trust_owner: Names = TRUST_OWNER
    target_schema: SchemaName = TARGET_SCHEMA
    migration_id: RunName | None = MIGRATION_ID
    backup_retention: int = Field(7, validation_alias=AliasChoices(RETENTION), ge=0, le=36_500)
    verbose: bool = VERBOSE

    @classmethod
    def load(cls, **options: object) -> Self:
        return load(cls, options)

    def url(self) -> str:
        """The target; raises MissingSetting."""
        return given_url(self.database_url, self.require_tls, self.trust_owner)

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown."""
        return tuple(url_secrets(self.database_url))


def given_url(url: SecretStr | None, require_tls: bool | None, trust_owner: Iterable[str]) -> str:
    if url is None:
        raise MissingSetting(setting=option_name("database_url"), environment=" or ".join(environment_names_in(Target, "database_url")))
    return with_trusted(with_tls(url.get_secret_value(), require_tls, os.environ), trust_owner)


def url_secrets(url: SecretStr | None) -> Iterable[str]:
    if url is not None:
        text = url.get_secret_value()
        yield from filter(None, [text, *_passwords(urlsplit(text))])


def _passwords(parts: SplitResult) -> Iterable[str]:
    userinfo = parts.netloc.rpartition("@")[0]
    password = userinfo.partition(":")[2]
    yield from (password, unquote(password))
    query = parse_qs(parts.query)
    for name in ("password", "sslpassword"):
        yield from query.get(name, ())
