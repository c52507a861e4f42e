"""Which run the settings name, and with which settings it began: a resumed run keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from firelift.errors import ConfigurationError
from firelift.files import sealed
from firelift.migration.fingerprint import DECIDING, deciding
from firelift.run.workspace import NoSuchRun, Workspace, encode
from firelift.settings.settings import Settings
from firelift.settings.types import is_run_name

IDENTITY = "run.json"

# What a resume takes from the run's beginning unless it is given again. Not what belongs to the machine: credentials, addresses, workers.
# Nor whether it is a plan: a plan must not be resumed as a migration, nor the other way round.
RESUMED_SETTINGS = (
    *(name for name in DECIDING if name != "dry_run"),
    *("max_rejects", "max_deletes", "max_reads", "max_cost", "read_price"),
    *("batch_size", "auto_verification", "auto_rollback", "verification_level"),
    *("keep_archive", "keep_tables", "app_config", "app_config_values"),
    *("full_scan_every", "keep", "on_expired_snapshot"),
)


class SettingsMismatch(ConfigurationError):
    """A run cannot be resumed with settings that would give another result."""

    remedy = "Leave them out to resume with the settings it began with, or start a new run without --resume."


class RunExists(ConfigurationError):
    """There is a run of this name already."""

    remedy = "Add --resume to continue it, or give another --migration-id."


class NothingToResume(ConfigurationError):
    """The last run in the working directory has finished: there is nothing to resume."""

    remedy = "Start a new run without --resume; to run this one again anyway, name it with --migration-id."


class NotACheckpoint(ConfigurationError):
    """The file is not the checkpoint of a run."""

    remedy = "Give the migration-checkpoint.json of the run to resume."


def is_resume(settings: Settings) -> bool:
    return settings.resume or settings.checkpoint_file is not None


def resolve_run(settings: Settings, new_id: str, source: Callable[[Settings], str], flow_run: str | None = None) -> Settings:
    """The settings of the run that these settings name: a new run, or with --resume an earlier one.

    A resume takes what is not given from the run's beginning. So does a `flow_run` that is carried out again, as Prefect's retries do.
    `source` says which Firestore database settings mean. Raises NoSuchRun, NotACheckpoint, RunExists, NothingToResume, and SettingsMismatch
    with the list of differences.
    """
    if not is_resume(settings):
        named = settings.named(settings.migration_id or new_id)
        identity = _read_identity(_workspace(named))
        if identity is None:
            return named
        if flow_run is None or identity["flowRun"] != flow_run:
            raise RunExists(migration_id=str(named.migration_id))
        settings = named
    workspace = _run_to_resume(settings)
    # What it began with is taken from there: it must be our own.
    workspace.refuse_others()
    identity = _read_identity(workspace)
    # A run that died in its first second has nothing to continue from, and nothing to differ from.
    before: Mapping[str, Any] = identity["settings"] if identity else {}
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    whole = Settings.load(**{**{name: before[name] for name in RESUMED_SETTINGS if name in before}, **_as_options(given)})
    if identity:
        _refuse_differences(workspace, identity, whole, source(whole))
    return whole.resuming(workspace.migration_id, workspace.working_dir)


def register_run(workspace: Workspace, settings: Settings, source: str, flow_run: str | None = None) -> str:
    """Records, once, with which settings the run began; returns a token that distinguishes this run from any other of its name."""
    identity = _read_identity(workspace)
    if identity is None:
        identity = {
            "token": str(uuid4()),
            "settings": settings.public(),
            "mapping": _digest(settings.mapping),
            "source": source,
            "flowRun": flow_run,
        }
        workspace.write(IDENTITY, sealed(encode(identity, indent=2)), durable=True)
    return str(identity["token"])


def _as_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options as `Settings.load` takes them."""
    return {name: value.get_secret_value() if hasattr(value, "get_secret_value") else value for name, value in given.items()}


def _workspace(settings: Settings) -> Workspace:
    return Workspace(settings.working_dir, str(settings.migration_id))


def _read_identity(workspace: Workspace) -> dict[str, Any] | None:
    identity: dict[str, Any] | None = workspace.read_json(IDENTITY)
    return identity


def _run_to_resume(settings: Settings) -> Workspace:
    """The run of the checkpoint, the one that is named, or the last in the working directory."""
    if settings.checkpoint_file:
        found = _run_of_checkpoint(settings.checkpoint_file, settings.working_dir)
        if settings.migration_id not in (None, found.migration_id):
            raise NotACheckpoint(file=str(settings.checkpoint_file), of=found.migration_id, migration_id=settings.migration_id)
        return found
    if settings.migration_id:
        return Workspace.of(settings.working_dir, settings.migration_id)
    return _last_run(settings)


def latest_of_schema(working_dir: Path, target_schema: str) -> Workspace | None:
    """The run of a working directory that began last to write this schema."""
    of_schema = [run for run in _runs(working_dir) if _settings_of(run).get("target_schema") == target_schema]
    return max(of_schema, key=_began_at, default=None)


def _last_run(settings: Settings) -> Workspace:
    """The run that began last, among plans or among the others; one that was refused in its first second does not count.

    Where the target schema is given and a run has written it, that is the last of those.
    """
    alike = [run for run in _runs(settings.working_dir) if _settings_of(run).get("dry_run") == settings.dry_run]
    if not alike:
        return Workspace.latest(settings.working_dir)
    given = "target_schema" in settings.model_fields_set
    of_schema = [run for run in alike if given and _settings_of(run).get("target_schema") == settings.target_schema]
    last = max(of_schema or alike, key=_began_at)
    status = last.status()
    if "completed" in (status.get("status"), (status.get("rolledBack") or {}).get("was")):
        raise NothingToResume(migration_id=last.migration_id)
    return last


def _runs(working_dir: Path) -> list[Workspace]:
    return [Workspace(working_dir, path.parent.name) for path in working_dir.glob(f"runs/*/{IDENTITY}")]


def _settings_of(run: Workspace) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = (_read_identity(run) or {}).get("settings", {})
    return settings


def _began_at(run: Workspace) -> int:
    return (run.run / IDENTITY).stat().st_mtime_ns


def _run_of_checkpoint(file: Path, working_dir: Path) -> Workspace:
    try:
        migration_id = json.loads(file.read_text(encoding="utf-8"))["migrationId"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotACheckpoint(file=str(file)) from error
    # It becomes the name of a directory: nothing that leads out of `runs`.
    if not is_run_name(migration_id):
        raise NotACheckpoint(file=str(file), problem="its migrationId is not the name of a run")
    # The file in the run's own directory, or the link to it, says where that is; a copy of it does not.
    run = file.resolve().parent
    if run.name == migration_id and run.parent.name == "runs":
        return Workspace.of(run.parent.parent, migration_id)
    if (run / IDENTITY).exists():
        raise NotACheckpoint(file=str(file), problem="it lies in the directory of another run")
    try:
        return Workspace.of(working_dir, migration_id)
    except NoSuchRun:
        raise NoSuchRun(checkpoint_file=str(file), working_dir=str(working_dir), migration_id=migration_id) from None


def _refuse_differences(workspace: Workspace, identity: Mapping[str, Any], settings: Settings, source: str) -> None:
    before = deciding(identity["settings"]) | {"firestore": identity["source"]}
    now = deciding(settings.public()) | {"firestore": source}
    # A project that is named now and came from the key file before is the same one: `firestore` says so.
    compared = [name for name in now if name not in ("project_id", "firestore_database")]
    differing = {name: f"{before[name]!r}, now {now[name]!r}" for name in compared if before[name] != now[name]}
    if identity["mapping"] != _digest(settings.mapping):
        differing["mapping"] = "the content of the file has changed"
    if differing:
        raise SettingsMismatch(migration_id=workspace.migration_id, **{f"{name}_was": text for name, text in differing.items()})


def _digest(mapping: Path | None) -> str | None:
    return hashlib.sha256(mapping.read_bytes()).hexdigest() if mapping else None
