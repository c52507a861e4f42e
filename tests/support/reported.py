"""Reports as they are documented: the JSON Schema in docs/ and the run directories that tests leave."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = Path(__file__).parents[2] / "docs" / "final-migration-report.schema.json"


@cache
def _validator() -> Any:
    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def undocumented(report: object) -> list[str]:
    """What the report says otherwise than its schema; as a reader gets it, through JSON."""
    found = _validator().iter_errors(json.loads(json.dumps(report, allow_nan=False)))
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def undocumented_below(working_dir: Path) -> list[str]:
    """The same for every run of a working directory."""
    files = sorted(working_dir.glob("runs/*/final-migration-report.json"))
    return [f"{file.parent.name} {said}" for file in files for said in undocumented(json.loads(file.read_text()))]
