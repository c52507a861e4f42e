"""Every setting of a migration, wherever it comes from: option, environment, `.env` or default, in this order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from firelift.errors import ConfigurationError
from firelift.settings.secret_shapes import Look, may_be_shown, secret_look
from firelift.settings.tls import with_tls
from firelift.settings.trusted_owners import with_trusted
from firelift.settings.types import (
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

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

PREFIX = "MIGRATION_"
# How long `firelift cleanup` leaves what a rollback needs; no setting of a migration.
RETENTION = "MIGRATION_BACKUP_RETENTION"
SECRETS = ("database_url", "supabase_key")
# What is given for one of these is never quoted: it is a secret, or one that was put into the wrong place.
NEVER_SHOWN = (*SECRETS, "supabase_url", "firebase_service_account", "app_config_values")


class InvalidSetting(ConfigurationError):
    """A setting has a value that cannot be used."""

    remedy = "See `firelift migrate --help`."


class UnknownSetting(ConfigurationError):
    """There is no such setting."""

    remedy = "See `firelift migrate --help` for those there are."


class MissingSetting(ConfigurationError):
    """A setting that is needed is missing."""

    remedy = "Give it as an option, in the environment or in `.env`."


class UnreadableEnvFile(ConfigurationError):
    """The file `.env` in the current directory cannot be read."""

    remedy = "Make it a readable text file in UTF-8 with one NAME=value a line, or move it away."


def environment_names(name: str) -> list[str]:
    """The environment variables that give a setting, the one that wins first."""
    alias = Settings.model_fields[name].validation_alias
    assert isinstance(alias, AliasChoices)
    return [str(choice) for choice in alias.choices]


def option_name(name: str) -> str:
    """How the setting is spelled on the command line; one that is on unless switched off has a `--no-` form besides."""
    return "--" + name.replace("_", "-")


def off_name(name: str) -> str | None:
    """The option that switches a setting off which is on by default, or by circumstances."""
    field = Settings.model_fields[name]
    may_be_on = field.default is True or (field.default is None and bool in get_args(field.annotation))
    return "--no-" + name.replace("_", "-") if may_be_on else None


def _setting(default: Any, description: str, *other_names: str, own: str, **bounds: Any) -> Any:
    """A field that is read from MIGRATION_<OWN> and from the names that other tools use for it."""
    return Field(default, description=description, validation_alias=AliasChoices(PREFIX + own, *other_names), **bounds)


def default_workers() -> int:
    return min(8, max(1, os.cpu_count() or 1))


Model = TypeVar("Model", bound=BaseSettings)


SOURCES = SettingsConfigDict(
    env_file=".env",
    env_file_encoding="utf-8",
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    hide_input_in_errors=True,
    validate_default=False,
)

_MIGRATION_ID = _setting(None, "Name of this run; made from the time when not given", own="MIGRATION_ID")
_WORKING_DIR = _setting(Path("migration-workspace"), "Directory for status, reports and archive", own="WORKING_DIR")
_VERBOSE = _setting(False, "Show more, and tracebacks of errors", own="VERBOSE")


class RunLocation(BaseSettings):
    """Where a run is: all that `firelift status` needs to know, whatever else may be set wrongly."""

    model_config = SOURCES

    migration_id: RunName | None = _MIGRATION_ID
    working_dir: WorkingDir = _WORKING_DIR
    verbose: bool = _VERBOSE

    @classmethod
    def load(cls, **options: object) -> Self:
        return _loaded(cls, options)


_DATABASE_URL = _setting(
    None, "Target PostgreSQL connection; better in the environment", "SUPABASE_DB_URL", "DATABASE_URL", own="DATABASE_URL"
)


_REQUIRE_TLS = _setting(None, "Refuse a target that offers no encrypted connection; by default where it is Supabase's", own="REQUIRE_TLS")
_TARGET_SCHEMA = _setting("public", "Schema of the target tables", own="TARGET_SCHEMA")
_TRUST_OWNER = _setting(
    (), "Write tables that belong to these roles, as them: their own code then runs with their rights", own="TRUST_OWNER"
)


class Target(BaseSettings):
    """What undoing needs to know: where the target is, whatever else may be set wrongly."""

    model_config = SOURCES

    database_url: DatabaseUrl | None = _DATABASE_URL
    require_tls: bool | None = _REQUIRE_TLS
    trust_owner: Names = _TRUST_OWNER
    target_schema: SchemaName = _TARGET_SCHEMA
    migration_id: RunName | None = _MIGRATION_ID
    backup_retention: int = Field(7, validation_alias=AliasChoices(RETENTION), ge=0, le=36_500)
    verbose: bool = _VERBOSE

    @classmethod
    def load(cls, **options: object) -> Self:
        return _loaded(cls, options)

    def url(self) -> str:
        """The target; raises MissingSetting."""
        return _given_url(self.database_url, self.require_tls, self.trust_owner)

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown."""
        return tuple(_url_secrets(self.database_url))


class Settings(BaseSettings):
    """One migration's settings. Descriptions are the help texts: one line each."""

    model_config = SOURCES

    supabase_url: HttpUrl | None = _setting(
        None, "Supabase project URL, checked before and after the migration", "SUPABASE_URL", own="SUPABASE_URL"
    )
    supabase_key: SecretStr | None = _setting(
        None, "Supabase service role key; better in the environment", "SUPABASE_SERVICE_ROLE_KEY", own="SUPABASE_KEY"
    )
    # Before firebase_service_account: whether that file must exist depends on it.
    firestore_emulator_host: EmulatorAddress | None = _setting(
        None, "Read from a Firestore emulator at HOST:PORT", "FIRESTORE_EMULATOR_HOST", own="FIRESTORE_EMULATOR_HOST"
    )
    firebase_service_account: ExistingFile = _setting(
        None, "Service account key file (JSON) to read Firestore with", "GOOGLE_APPLICATION_CREDENTIALS", own="FIREBASE_SERVICE_ACCOUNT"
    )
    database_url: DatabaseUrl | None = _DATABASE_URL
    require_tls: bool | None = _REQUIRE_TLS
    trust_owner: Names = _TRUST_OWNER
    project_id: ResourceId | None = _setting(
        None, "Google Cloud project of the Firestore database", "GOOGLE_CLOUD_PROJECT", own="PROJECT_ID"
    )
    firestore_database: ResourceId = _setting("(default)", "Firestore database id", own="FIRESTORE_DATABASE")
    collections: Globs = _setting((), "Only these collections, as in users or users/*/orders, with all beneath them", own="COLLECTIONS")
    exclude_collections: Globs = _setting((), "Not these collections, nor what is beneath them", own="EXCLUDE_COLLECTIONS")
    target_schema: SchemaName = _TARGET_SCHEMA
    mapping: ExistingFile = _setting(None, "JSON file with names of your own for tables and columns", own="MAPPING")
    naming: Literal["snake_case", "preserve"] = _setting("snake_case", "How names of fields become names of columns", own="NAMING")
    foreign_keys: Literal["report", "strict", "off"] = _setting(
        "report", "References as foreign keys: where whole, all or fail, none", own="FOREIGN_KEYS"
    )
    max_rejects: int = _setting(0, "Rejected documents above which the migration fails", own="MAX_REJECTS", ge=0)
    max_workers: int = _setting(default_workers(), "Collections and key ranges at a time", own="MAX_WORKERS", ge=1, le=64)
    migration_id: RunName | None = _MIGRATION_ID
    migration_mode: Literal["full", "incremental", "test"] = _setting(
        "full", "Everything, only what has changed since the last run, or a sample to try it out", own="MIGRATION_MODE"
    )
    deletes: Literal["propagate", "mark", "ignore"] = _setting(
        "propagate", "Incremental: rows of deleted documents are deleted, marked in firestore_deleted_at, or left", own="DELETES"
    )
    max_deletes: MaxDeletes | None = _setting(
        None, "Most rows a run may take out: 5000 or 20%; when not given 100 or 20% a table, and never all", own="MAX_DELETES"
    )
    schema_changes: Literal["evolve", "freeze", "fail"] = _setting(
        "evolve", "Incremental: new fields and types change the tables, stay in the residue, or fail", own="SCHEMA_CHANGES"
    )
    changed_since_field: str | None = _setting(
        None, "Incremental: a timestamp field of your documents, trusted to tell what has changed", own="CHANGED_SINCE_FIELD", min_length=1
    )
    full_scan_every: int = _setting(
        10, "Incremental with --changed-since-field: every so many runs all keys are compared all the same", own="FULL_SCAN_EVERY", ge=1
    )
    sample_size: int = _setting(100, "Test: documents a collection, besides those they refer to", own="SAMPLE_SIZE", ge=1, le=100_000)
    keep: bool = _setting(False, "Test: keep the scratch schema", own="KEEP")
    batch_size: int = _setting(5000, "Documents a chunk, the unit of checkpoint and transaction", own="BATCH_SIZE", ge=1, le=100_000)
    range_documents: int = _setting(
        500_000, "Documents above which a collection is read in several key ranges", own="RANGE_DOCUMENTS", ge=1
    )
    read_time: Moment = _setting("now", "The snapshot: now, minute (the last whole one) or an RFC 3339 time", own="READ_TIME")
    working_dir: WorkingDir = _WORKING_DIR
    resume: bool = _setting(False, "Go on with the last run, or the one named, where it stood", own="RESUME")
    checkpoint_file: ExistingFile = _setting(None, "Resume the run of this migration-checkpoint.json", own="CHECKPOINT_FILE")
    skip_phases: Phases = _setting((), "Leave these phases out, using what an earlier attempt of this run has of them", own="SKIP_PHASES")
    auto_rollback: bool = _setting(True, "Take out of the target what a failed import or verification made", own="AUTO_ROLLBACK")
    auto_verification: bool = _setting(True, "Verify before the tables become visible", own="AUTO_VERIFICATION")
    verification_level: LevelName = _setting(
        "standard", "How much is compared: 10 or 100 documents a table, or all", own="VERIFICATION_LEVEL"
    )
    max_lookup_ms: float = _setting(
        50.0, "Milliseconds above which looking up a key is a warning", own="MAX_LOOKUP_MS", gt=0, allow_inf_nan=False
    )
    max_count_ms: float = _setting(
        10_000.0, "Milliseconds above which counting a table is a warning", own="MAX_COUNT_MS", gt=0, allow_inf_nan=False
    )
    keep_archive: bool = _setting(True, "Keep the archive once everything is published", own="KEEP_ARCHIVE")
    keep_tables: bool = _setting(True, "Keep the Parquet tables once everything is published", own="KEEP_TABLES")
    app_config: ExistingFile = _setting(None, "The app's dotenv or JSON file to update once everything is published", own="APP_CONFIG")
    app_config_values: AppConfigValues = _setting({}, "What to put there: NAME=VALUE[,..] or a JSON object", own="APP_CONFIG_VALUES")
    dry_run: bool = _setting(False, "Read and plan, write nothing to the target", own="DRY_RUN")
    verbose: bool = _VERBOSE

    def __init__(self, **options: object) -> None:
        """The settings, with these options (None: not given) above environment and `.env`; raises ConfigurationError."""
        with _problems_named(type(self), options) as by_alias:
            super().__init__(**by_alias)
        _refuse_secrets_in_public(self, options)

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
        """The same settings for going on with the run of this name."""
        return self.model_copy(update={"migration_id": migration_id, "working_dir": working_dir, "resume": True, "checkpoint_file": None})

    def require_target(self) -> None:
        """Raise when there is no target database to write to."""
        self.target_url()

    def target_url(self) -> str:
        """The target with its password; raises MissingSetting."""
        return _given_url(self.database_url, self.require_tls, self.trust_owner)

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
        return (*filter(None, found), *_url_secrets(self.database_url))

    def secret_environment(self) -> dict[str, str]:
        """The secrets as environment variables: how they reach a flow, whose parameters everybody can read."""
        values = {name: getattr(self, name) for name in SECRETS}
        return {environment_names(name)[0]: value.get_secret_value() for name, value in values.items() if value is not None}


PUBLIC_FIELDS: tuple[str, ...] = tuple(name for name in Settings.model_fields if name not in SECRETS)


def given_secrets(environment: Mapping[str, str], arguments: Sequence[str]) -> tuple[str, ...]:
    """Every text around this process that is a secret or looks like one, whether or not a setting would take it."""
    named = [environment.get(variable, "") for name in SECRETS for variable in environment_names(name)]
    misplaced = [environment.get(variable, "") for name in PUBLIC_FIELDS for variable in environment_names(name)]
    typed = [part for word in arguments for part in (word, word.partition("=")[2])]
    found = [*named, *(text for text in (*misplaced, *typed) if secret_look(text) is not None)]
    return tuple(piece for text in found if text for piece in (text, *_raw_password(text)))


def _raw_password(url: str) -> Iterable[str]:
    """The password of an address as a person means it: up to the last @, whatever stands in it."""
    found = re.search(r"://[^:/]*:(.+)@", url, re.DOTALL)
    return (found[1],) if found else ()


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: a slip of the pen that would otherwise go unseen."""
    known = {alias for name in Settings.model_fields for alias in environment_names(name)} | {RETENTION}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def forget_surroundings() -> None:
    """From here on this process finds no settings in its environment, nor in `.env`: the demo must not meet anybody's project."""
    for name in Settings.model_fields:
        for variable in environment_names(name):
            os.environ.pop(variable, None)
    Settings.model_config["env_file"] = None


def _given_url(url: SecretStr | None, require_tls: bool | None, trust_owner: Iterable[str]) -> str:
    if url is None:
        raise MissingSetting(setting=option_name("database_url"), environment=" or ".join(environment_names("database_url")))
    return with_trusted(with_tls(url.get_secret_value(), require_tls, os.environ), trust_owner)


def _url_secrets(url: SecretStr | None) -> Iterable[str]:
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


def _loaded(model: type[Model], options: Mapping[str, object]) -> Model:
    with _problems_named(model, options) as by_alias:
        loaded = model(**by_alias)
    _refuse_secrets_in_public(loaded, options)
    return loaded


@contextmanager
def _problems_named(model: type[BaseSettings], options: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """The options as pydantic takes them; what it finds wrong is said as a ConfigurationError."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in model.model_fields:
            raise UnknownSetting(setting=_named(name))
    try:
        yield {_first_name(model, name): value for name, value in given.items()}
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False)[0], given) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableEnvFile(reason=type(error).__name__) from None


def _refuse_secrets_in_public(loaded: BaseSettings, options: Mapping[str, object]) -> None:
    """Every setting but SECRETS is shown in reports and in Prefect: what looks like a secret there is in the wrong place."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in type(loaded).model_fields:
        # Values for the app are looked at when they are filled in: a publishable token is right there.
        if name in SECRETS or name == "app_config_values":
            continue
        value = getattr(loaded, name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str | Path) and (look := secret_look(str(text))) is not None:
                raise InvalidSetting(**_misplaced(name, given, "cannot be used", look))


def _first_name(model: type[BaseSettings], name: str) -> str:
    alias = model.model_fields[name].validation_alias
    assert isinstance(alias, AliasChoices)
    return str(alias.choices[0])


def _invalid(problem: ErrorDetails, options: Mapping[str, object]) -> InvalidSetting:
    """One line of what pydantic found; the value only where it can be no secret, else what it looks like and where it belongs."""
    alias = str(problem["loc"][0])
    name = next((field for field in Settings.model_fields if alias in (field, *environment_names(field))), alias)
    text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = problem.get("input")
    look = secret_look(str(value)) if isinstance(value, str | Path) else None
    if look is not None and not (name == "database_url" and look.what == "a database URL"):
        return InvalidSetting(**_misplaced(name, options, text, look))
    facts: dict[str, object] = {"setting": _source(name, options), "problem": text}
    if isinstance(value, str | int | float | Path) and _may_be_shown(name, str(value)):
        facts["value"] = str(value) if isinstance(value, Path) else value
    return InvalidSetting(**facts)


def _may_be_shown(name: str, value: str) -> bool:
    # What ends like the name of a key file is one: no key and no password comes to that by itself.
    named = name == "firebase_service_account" and value.endswith(".json") and "@" not in value
    return may_be_shown(value) and (named or name not in NEVER_SHOWN)


def _misplaced(name: str, options: Mapping[str, object], problem: str, look: Look) -> dict[str, object]:
    field = Settings.model_fields.get(name)
    wanted = "a path" if field is not None and Path in (field.annotation, *get_args(field.annotation)) else _WANTED.get(name)
    told = f"{problem}: it looks like {look.what}" + (f", not {wanted}" if wanted else "")
    return {"setting": _source(name, options), "problem": told, "instead": look.belongs}


_WANTED = {"supabase_url": "the project's https:// address", "database_url": "a database URL", "firestore_emulator_host": "HOST:PORT"}


def _named(name: str) -> str:
    return name if may_be_shown(name) else "one that is not shown"


def _source(name: str, options: Mapping[str, object]) -> str:
    if name in options or name not in Settings.model_fields:
        return option_name(name) if name in Settings.model_fields else name
    upper = {variable.upper() for variable in os.environ}
    variable = next((alias for alias in environment_names(name) if alias in upper), None)
    return variable or f"{_in_env_file(name)} in .env"


def _in_env_file(name: str) -> str:
    there = {variable.upper() for variable in dotenv_values(".env")}
    return next((alias for alias in environment_names(name) if alias in there), environment_names(name)[0])
