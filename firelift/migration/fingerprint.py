"""A short name for the settings that decide a migration's result, so that a checkpoint is only used for the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

# Raise it when a change of the code makes earlier checkpoints wrong.
EPOCH = 1

DECIDING = (
    "project_id",
    "firestore_database",
    "collections",
    "exclude_collections",
    "target_schema",
    "naming",
    "mapping",
    "foreign_keys",
    "migration_mode",
    "deletes",
    "schema_changes",
    "changed_since_field",
    "sample_size",
    "dry_run",
    "read_time",
)


def deciding(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings whose change would give another result; not batch size or the number of workers."""
    return {name: settings.get(name) for name in DECIDING}


def fingerprint(settings: Mapping[str, object]) -> str:
    text = json.dumps([EPOCH, deciding(settings)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
