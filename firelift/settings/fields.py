"""How a setting is declared: its default, its help text, and the environment variables that give it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "MIGRATION_"
# How long `firelift cleanup` leaves what a rollback needs; no setting of a migration.
RETENTION = "MIGRATION_BACKUP_RETENTION"
SECRETS = ("database_url", "supabase_key")
# What is given for one of these is never quoted: it is a secret, or one that was put into the wrong place.
NEVER_SHOWN = (*SECRETS, "supabase_url", "firebase_service_account", "app_config_values")

SOURCES = SettingsConfigDict(
    env_file=".env",
    env_file_encoding="utf-8",
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    hide_input_in_errors=True,
    validate_default=False,
)


def setting(default: Any, description: str, *other_names: str, own: str, **bounds: Any) -> Any:
    """A field that is read from MIGRATION_<OWN> and from the names that other tools use for it."""
    return Field(default, description=description, validation_alias=AliasChoices(PREFIX + own, *other_names), **bounds)


def environment_names_in(model: type[BaseSettings], name: str) -> list[str]:
    """The environment variables that give a setting of this model, the one that wins first."""
    alias = model.model_fields[name].validation_alias
    assert isinstance(alias, AliasChoices)
    return [str(choice) for choice in alias.choices]


def option_name(name: str) -> str:
    """How the setting is spelled on the command line; one that is on by default also has a `--no-` form."""
    return "--" + name.replace("_", "-")


# Settings that several models have.
MIGRATION_ID = setting(None, "Name of this run; made from the current time by default", own="MIGRATION_ID")
WORKING_DIR = setting(Path("migration-workspace"), "Directory for status, reports and archive", own="WORKING_DIR")
VERBOSE = setting(False, "Show more, with tracebacks of errors", own="VERBOSE")
DATABASE_URL = setting(
    None, "Connection URL of the target PostgreSQL; better set in the environment", "SUPABASE_DB_URL", "DATABASE_URL", own="DATABASE_URL"
)
REQUIRE_TLS = setting(None, "Refuse a target without an encrypted connection; on by default for Supabase's hosts", own="REQUIRE_TLS")
TARGET_SCHEMA = setting("public", "Schema of the target tables", own="TARGET_SCHEMA")
TRUST_OWNER = setting(
    (), "Also write to tables owned by these roles, acting as the owner: the owner's code then runs with its rights", own="TRUST_OWNER"
)
