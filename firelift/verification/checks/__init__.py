"""The checks, a file each, in the order in which their results are listed."""

from __future__ import annotations

from typing import Final

from firelift.verification.check import Check
from firelift.verification.checks import (
    columns,
    differences,
    documents,
    foreign_keys,
    merged,
    nested,
    performance,
    relations,
    rereads,
    tables,
    types,
)

CHECKS: Final[tuple[Check, ...]] = (
    tables.CHECK,
    merged.CHECK,
    types.CHECK,
    documents.CHECK,
    differences.CHECK,
    relations.CHECK,
    foreign_keys.CHECK,
    columns.CHECK,
    performance.CHECK,
    nested.CHECK,
    rereads.CHECK,
)
