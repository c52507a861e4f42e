"""What a verification is given: the tables, how thoroughly they are verified, and what is known of them from before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from firelift.firestore.channel import Source
from firelift.planning.model import Plan
from firelift.postgres.session.connect import Session
from firelift.receipts import RelationChecked, TableCounts
from firelift.settings.verification_level import Level
from firelift.storage.archive import StoredFile
from firelift.verification.proof import Against, Limits, LiveRows


@dataclass(frozen=True)
class Tables:
    """Where the rows are, and what they should be."""

    session: Session
    """By its application_name a stop finds and cancels the statements."""
    schema: str
    plan: Plan
    run: Path
    """The run's directory, with plan.json, archive/, transformed/ and rejects/."""


@dataclass(frozen=True)
class Known:
    """What is known from before the verification."""

    relations: Sequence[RelationChecked] | None = None
    """Those that import recorded; None where nobody did."""
    merged: tuple[LiveRows, ...] | None = None
    """Of an increment: its tables as they will be with it; None for a full run."""
    deleted_chunks: tuple[str, ...] = ()
    """The beginnings of the names of archive chunks whose documents Firestore no longer has."""
    earlier: Path | None = None
    """The verification.json of an earlier run, whose response times are compared."""
    completeness: str = ""
    """How it was shown that the archive lacks no document."""
    warnings: Sequence[str] = ()
    """The caller's, listed before those of the verification."""


@dataclass(frozen=True)
class Verification:
    """What is verified, and how thoroughly."""

    tables: Tables
    roots: Sequence[str]
    """The root collections whose archive is read."""
    level: Level
    seed: str
    """Decides which documents are drawn."""
    read_time: str
    results: Path
    """The directory for differences.csv."""
    limits: Limits
    against: Against = "archive"
    source: Source | None = None
    """Where documents are read again; None: no document is."""
    known: Known = field(default_factory=Known)


class StoredChunk(NamedTuple):
    """An archive chunk, and how many rows its documents became, by collection."""

    name: str
    archived: StoredFile
    tables: Mapping[str, TableCounts]
