"""What a verification found: figures and differences, never data beyond shortened examples. Expectations decide whether it suffices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

from pydantic import Field, SerializeAsAny

from firelift.receipts import Difference, Receipt, TableCompared
from firelift.settings.types import LevelName

Result = TypeVar("Result", bound=Receipt)
Against = Literal["archive", "firestore"]
Presence = Literal["both", "source", "target"]


class Limits(NamedTuple):
    """Milliseconds above which an answer of the target is a warning."""

    lookup_ms: float
    count_ms: float


class DigestUnit(Receipt):
    """Documents of one table that were compared together: one document, or those of one archive chunk.

    Equal digests mean that every document of the piece is in the target to the last bit.
    """

    table: str
    key: str
    """The document's key joined by `/`, or the name of the chunk."""
    documents: int
    source_digest: str
    target_digest: str
    presence: Presence = "both"


class LiveRows(Receipt):
    """One whole table once the increment is merged: its rows for documents, and the documents in Firestore."""

    table: str
    expected: int
    rows: int


class RelationProved(Receipt):
    """Rows of a relation that lead nowhere: Firestore allows them, so they must be as many as when the rows were loaded."""

    table: str
    columns: tuple[str, ...]
    references: str
    expected: int | None
    """Orphans when the rows were loaded; None where nobody counted them."""
    orphans: int
    examples: tuple[str, ...]
    foreign_key: bool
    """Whether there is a validated foreign key."""
    expected_foreign_key: bool | None = None
    """Whether import made one; None where nobody noted it."""
    query: str
    """The SQL that lists the orphaned rows."""


class ColumnProved(Receipt):
    """What a column holds, and what was loaded into it. Low and high are text; None where there is none or it cannot be compared."""

    table: str
    column: str
    expected_present: int
    present: int
    expected_low: str | None
    low: str | None
    expected_high: str | None
    high: str | None
    query: str


class NestedProved(Receipt):
    """Values at one place inside a jsonb column that do not have the planned type, in rows without residue."""

    table: str
    column: str
    place: str
    reads_as: str
    unreadable: int
    query: str


class Reread(Receipt):
    """Documents of a table that were read from Firestore again at the run's read time."""

    table: str
    asked: int
    differing: int
    unavailable: str | None = None
    """Why they could not be read again, such as a snapshot that Firestore no longer keeps."""


class Measured(Receipt):
    """How fast the target answers one kind of question, in milliseconds."""

    table: str
    what: Literal["key lookup", "count", "reference lookup", "range scan", "join to parent"]
    samples: int
    p50: float
    p95: float
    p99: float
    rows_per_second: float | None = None
    earlier_p50: float | None = None
    """The p50 of an earlier run with the same target, where there is one."""
    limit: float | None = None
    """From the settings; a p95 above it is a warning."""
    query: str = ""


class Proof(Receipt):
    """Everything the engine found out about the tables of one schema."""

    level: LevelName
    against: Against
    schema_name: str
    read_time: str
    completeness: str = ""
    """How it was shown that the archive lacks no document; empty for a sample, and where nobody recorded it."""
    seed: str
    tables: tuple[TableCompared, ...]
    merged: tuple[LiveRows, ...] = ()
    """Of an increment; `tables` are its staged rows then, all of them compared."""
    pieces: tuple[DigestUnit, ...] = ()
    found: Mapping[str, tuple[SerializeAsAny[Receipt], ...]] = Field(default_factory=dict)
    """What the checks found out, by their names."""
    differences_total: int = 0
    differences: tuple[Difference, ...] = ()
    """The first hundred; all of them are in differences.csv."""
    warnings: tuple[str, ...] = ()

    def of(self, check: str, kind: type[Result]) -> tuple[Result, ...]:
        """What a check found out; nothing where it was not asked."""
        return tuple(result for result in self.found.get(check, ()) if isinstance(result, kind))

    @property
    def relations(self) -> tuple[RelationProved, ...]:
        return self.of("relations", RelationProved)

    @property
    def columns(self) -> tuple[ColumnProved, ...]:
        return self.of("columns", ColumnProved)

    @property
    def nested(self) -> tuple[NestedProved, ...]:
        return self.of("nested", NestedProved)

    @property
    def rereads(self) -> tuple[Reread, ...]:
        return self.of("rereads", Reread)

    @property
    def performance(self) -> tuple[Measured, ...]:
        return self.of("performance", Measured)
