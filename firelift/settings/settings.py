"""Every setting of a migration, wherever it comes from: option, environment, `.env` or default, in this order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, get_args
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from firelift.settings.fields import (
    DATABASE_URL,
    MIGRATION_ID,
    PREFIX,
    REQUIRE_TLS,
    RETENTION,
    SECRETS,
    SOURCES,
    TARGET_SCHEMA,
    TRUST_OWNER,
    VERBOSE,
    WORKING_DIR,
    environment_names_in,
    setting,
)
from firelift.settings.loading import problems_named, refuse_misplaced_secrets
from firelift.settings.secret_shapes import secret_look
from firelift.settings.target import given_url, url_secrets
from firelift.settings.types import (
    JSON,
    AppConfigValues,
    DatabaseUrl,
    EmulatorAddress,
    ExistingFile,
    Globs,
    HttpUrl,
    LevelName,
    MaxDeletes,
    Moment,
    Names,
    Phases,
    ResourceId,
    RunName,
    SchemaName,
    WorkingDir,
)


def default_workers() -> int:
    return min(8, max(1, os.cpu_count() or 1))


class Settings(BaseSettings):
    """One migration's settings. Descriptions are the help texts: one line each."""

    model_config = SOURCES

    supabase_url: HttpUrl | None = setting(
        None, "Supabase project URL, checked before and after the migration", "SUPABASE_URL", own="SUPABASE_URL"
    )
    supabase_key: SecretStr | None = setting(
        None, "Supabase service role key; better set in the environment", "SUPABASE_SERVICE_ROLE_KEY", own="SUPABASE_KEY"
    )
    # Before firebase_service_account: whether that file must exist depends on it.
    firestore_emulator_host: EmulatorAddress | None = setting(
        None, "Read from a Firestore emulator at HOST:PORT", "FIRESTORE_EMULATOR_HOST", own="FIRESTORE_EMULATOR_HOST"
    )
    firebase_service_account: ExistingFile = setting(
        None, "Service account key file (JSON) to read Firestore with", "GOOGLE_APPLICATION_CREDENTIALS", own="FIREBASE_SERVICE_ACCOUNT"
    )
    database_url: DatabaseUrl | None = DATABASE_URL
    require_tls: bool | None = REQUIRE_TLS
    trust_owner: Names = TRUST_OWNER
    project_id: ResourceId | None = setting(
        None, "Google Cloud project of the Firestore database", "GOOGLE_CLOUD_PROJECT", own="PROJECT_ID"
    )
    firestore_database: ResourceId = setting("(default)", "Firestore database id", own="FIRESTORE_DATABASE")
    collections: Globs = setting(
        (), "Migrate only these collections (such as users or users/*/orders) and everything below them", own="COLLECTIONS"
    )
    exclude_collections: Globs = setting((), "Leave out these collections and everything below them", own="EXCLUDE_COLLECTIONS")
    target_schema: SchemaName = TARGET_SCHEMA
    mapping: ExistingFile = setting(None, "JSON file with your own names for tables and columns", own="MAPPING")
    naming: Literal["snake_case", "preserve"] = setting("snake_case", "How field names become column names", own="NAMING")
    foreign_keys: Literal["report", "strict", "off"] = setting(
        "report", "Foreign keys for references: add those that hold, fail if one does not hold, or add none", own="FOREIGN_KEYS"
    )
    max_rejects: int = setting(0, "Fail if more documents than this are rejected", own="MAX_REJECTS", ge=0)
    max_reads: int | None = setting(
        None,
        "Stop before anything is read if more document reads than this would be billed; an increment also once changes are read",
        own="MAX_READS",
        ge=1,
    )
    max_cost: float | None = setting(None, "The same as US dollars, at --read-price", own="MAX_COST", gt=0, allow_inf_nan=False)
    read_price: float = setting(
        0.06, "US dollars for 100,000 document reads; depends on where the database is", own="READ_PRICE", gt=0, allow_inf_nan=False
    )
    max_workers: int = setting(
        default_workers(), "Worker processes: collections and key ranges handled at the same time", own="MAX_WORKERS", ge=1, le=64
    )
    migration_id: RunName | None = MIGRATION_ID
    migration_mode: Literal["full", "incremental", "test"] = setting(
        "full", "Migrate everything, only what changed since the last run, or a sample to try it out", own="MIGRATION_MODE"
    )
    deletes: Literal["propagate", "mark", "ignore"] = setting(
        "propagate", "Incremental: delete the rows of deleted documents, mark them in firestore_deleted_at, or leave them", own="DELETES"
    )
    max_deletes: MaxDeletes | None = setting(
        None, "Most rows a run may remove, such as 5000 or 20%; by default 100 rows or 20% if that is more, never all", own="MAX_DELETES"
    )
    schema_changes: Literal["evolve", "freeze", "fail"] = setting(
        "evolve", "Incremental: new fields and types change the tables, stay in the residue, or end the run", own="SCHEMA_CHANGES"
    )
    changed_since_field: str | None = setting(
        None, "Incremental: a timestamp field of your documents that shows which of them changed", own="CHANGED_SINCE_FIELD", min_length=1
    )
    full_scan_every: int = setting(
        10, "Incremental with --changed-since-field: compare all keys anyway every N runs", own="FULL_SCAN_EVERY", ge=1
    )
    sample_size: int = setting(100, "Test: documents per collection, plus those they refer to", own="SAMPLE_SIZE", ge=1, le=100_000)
    keep: bool = setting(False, "Test: keep the scratch schema", own="KEEP")
    batch_size: int = setting(5000, "Documents per chunk, the unit of checkpoint and transaction", own="BATCH_SIZE", ge=1, le=100_000)
    range_documents: int = setting(
        500_000, "Read collections with more documents than this in several key ranges", own="RANGE_DOCUMENTS", ge=1
    )
    read_time: Moment = setting("now", "Snapshot to read: now, minute (the last full minute) or an RFC 3339 time", own="READ_TIME")
    on_expired_snapshot: Literal["stop", "catch-up"] = setting(
        "stop",
        "Full: if Firestore no longer keeps the snapshot, stop, or read the rest later and close the gap with an incremental run",
        own="ON_EXPIRED_SNAPSHOT",
    )
    working_dir: WorkingDir = WORKING_DIR
    resume: bool = setting(False, "Resume the last run, or the one that --migration-id names, where it ended", own="RESUME")
    checkpoint_file: ExistingFile = setting(None, "Resume the run that wrote this migration-checkpoint.json", own="CHECKPOINT_FILE")
    skip_phases: Phases = setting((), "Skip these phases and use what an earlier attempt of this run did in them", own="SKIP_PHASES")
    auto_rollback: bool = setting(True, "Undo what a failed import or verification left in the target", own="AUTO_ROLLBACK")
    auto_verification: bool = setting(True, "Verify the tables before they become visible", own="AUTO_VERIFICATION")
    verification_level: LevelName = setting(
        "standard", "How much to compare: 10 or 100 documents per table, or all", own="VERIFICATION_LEVEL"
    )
    max_lookup_ms: float = setting(
        50.0, "Warn if looking up a key takes more milliseconds than this", own="MAX_LOOKUP_MS", gt=0, allow_inf_nan=False
    )
    max_count_ms: float = setting(
        10_000.0, "Warn if counting a table takes more milliseconds than this", own="MAX_COUNT_MS", gt=0, allow_inf_nan=False
    )
    keep_archive: bool = setting(True, "Keep the archive once everything is published", own="KEEP_ARCHIVE")
    keep_tables: bool = setting(True, "Keep the Parquet tables once everything is published", own="KEEP_TABLES")
    app_config: ExistingFile = setting(None, "The app's dotenv or JSON file to update once everything is published", own="APP_CONFIG")
    app_config_values: AppConfigValues = setting(
        {}, "Values for the --app-config file: NAME=VALUE[,..] or a JSON object", own="APP_CONFIG_VALUES"
    )
    dry_run: bool = setting(False, "Read and plan only; write nothing to the target", own="DRY_RUN")
    verbose: bool = VERBOSE

    def __init__(self, **options: object) -> None:
        """The settings, with these options (None: not given) above environment and `.env`; raises ConfigurationError."""
        with problems_named(type(self), options) as by_alias:
            super().__init__(**by_alias)
        refuse_misplaced_secrets(self, options)

    @classmethod
    def load(cls, **options: object) -> Self:
        """As `Settings(**options)`."""
        return cls(**options)

    def public(self) -> dict[str, JSON]:
        """Everything but the secrets, as JSON: what a flow takes as parameters and a report may show."""
        shown: dict[str, JSON] = self.model_dump(mode="json", exclude=set(SECRETS))
        return shown

    def named(self, migration_id: str) -> Self:
        """The same settings for the run of this name."""
        return self.model_copy(update={"migration_id": migration_id})

    def resuming(self, migration_id: str, working_dir: Path) -> Self:
        """The same settings for resuming the run of this name."""
        return self.model_copy(update={"migration_id": migration_id, "working_dir": working_dir, "resume": True, "checkpoint_file": None})

    def target_url(self) -> str:
        """The target with its password; raises MissingSetting."""
        return given_url(self.database_url, self.require_tls, self.trust_owner)

    def target(self) -> str | None:
        """The target as it may be shown: host, port and database."""
        if self.database_url is None:
            return None
        parts = urlsplit(self.database_url.get_secret_value())
        host = parts.netloc.rpartition("@")[2] or "localhost"
        return f"{host}/{unquote(parts.path.lstrip('/'))}".rstrip("/")

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown."""
        found: list[str] = []
        if self.supabase_key is not None:
            found.append(self.supabase_key.get_secret_value())
        return (*filter(None, found), *url_secrets(self.database_url))

    def secret_environment(self) -> dict[str, str]:
        """The secrets as environment variables: how they reach a flow, whose parameters everybody can read."""
        values = {name: getattr(self, name) for name in SECRETS}
        return {environment_names(name)[0]: value.get_secret_value() for name, value in values.items() if value is not None}


PUBLIC_FIELDS: tuple[str, ...] = tuple(name for name in Settings.model_fields if name not in SECRETS)


def environment_names(name: str) -> list[str]:
    """The environment variables that give a setting, the one that wins first."""
    return environment_names_in(Settings, name)


def off_name(name: str) -> str | None:
    """The option that switches a setting off which is on by default, or by circumstances."""
    field = Settings.model_fields[name]
    may_be_on = field.default is True or (field.default is None and bool in get_args(field.annotation))
    return "--no-" + name.replace("_", "-") if may_be_on else None


def given_secrets(environment: Mapping[str, str], arguments: Sequence[str]) -> tuple[str, ...]:
    """Every text around this process that is a secret or looks like one, whether or not a setting would take it."""
    named = [environment.get(variable, "") for name in SECRETS for variable in environment_names(name)]
    misplaced = [environment.get(variable, "") for name in PUBLIC_FIELDS for variable in environment_names(name)]
    typed = [part for word in arguments for part in (word, word.partition("=")[2])]
    found = [*named, *(text for text in (*misplaced, *typed) if secret_look(text) is not None)]
    return tuple(piece for text in found if text for piece in (text, *_raw_password(text)))


def _raw_password(url: str) -> Iterable[str]:
    """The password of an address as a person would read it: up to the last @, whatever characters it has."""
    found = re.search(r"://[^:/]*:(.+)@", url, re.DOTALL)
    return (found[1],) if found else ()


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are not: typing errors that would otherwise go unnoticed."""
    known = {alias for name in Settings.model_fields for alias in environment_names(name)} | {RETENTION}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def forget_surroundings() -> None:
    """From here on this process finds no settings in its environment or in `.env`: the demo must not touch anybody's project."""
    for name in Settings.model_fields:
        for variable in environment_names(name):
            os.environ.pop(variable, None)
    Settings.model_config["env_file"] = None
