"""The changes of an incremental run to each table of the target, kept as JSON in the run's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from firelift.files import read_sealed
from firelift.planning.model import Frozen, PgType, TablePlan

Deletes = Literal["propagate", "mark", "ignore"]
SchemaChanges = Literal["evolve", "freeze", "fail"]

INCREMENT = "increment.json"


class SchemaStep(Frozen):
    """A change to a table for new fields or new types of values."""

    collection: str
    table: str
    kind: Literal["new table", "new column", "wider column"]
    column: str = ""
    field: str = ""
    before: PgType | None = None
    """The type of a wider column before the change."""
    after: PgType | None = None

    def __str__(self) -> str:
        if self.kind == "new table":
            return f"{self.table}: new table for {self.collection}"
        return f"{self.table}.{self.column}: {self.kind}, {self._change()}, for the field {self.field}"

    def _change(self) -> str:
        if self.kind == "wider column" and self.before == self.after:
            return "integers of 64 bits beside those of 32" if self.after == "bigint" else "paths of documents instead of ids"
        return f"{self.after} instead of {self.before}" if self.before else str(self.after)


class TableIncrement(Frozen):
    """One table of an increment. The plan that its staged rows follow is the run's own (plan.json)."""

    collection: str
    table: str
    before: TablePlan | None = None
    """The plan by which the table was published; None for a collection that is migrated whole."""
    base: str | None = None
    """The run that published it last; the difference is one from that run's rows."""
    steps: tuple[SchemaStep, ...] = ()
    keys: int = 0
    """Documents of the collection at the read time."""
    scanned: bool = True
    """All keys were compared. Otherwise `keys` means nothing, and deleted documents are not known."""
    new: int = 0
    changed: int = 0
    deleted: int = 0
    keeps_deleted: bool = False
    """Rows of deleted documents are left as they are, and counted in every run."""
    rewritten: int = 0
    """Rows of unchanged documents that are written again because a column has another type now."""

    deleted_chunks: str | None = None
    """The beginning of the names of archive chunks that have rewritten rows of deleted documents."""

    @property
    def touched(self) -> bool:
        """Whether anything but the watermark changes."""
        goes = 0 if self.keeps_deleted else self.deleted
        return self.before is None or bool(self.new or self.changed or goes or self.rewritten or self.steps)


class Increment(Frozen):
    """All tables of an incremental run, including those in which nothing has changed."""

    deletes: Deletes = "propagate"
    tables: tuple[TableIncrement, ...] = ()

    @property
    def touched(self) -> bool:
        """Whether anything but watermarks changes."""
        return any(table.touched for table in self.tables)

    def deleted_chunks(self) -> tuple[str, ...]:
        """The beginnings of the names of archive chunks with deleted documents."""
        return tuple(table.deleted_chunks for table in self.tables if table.deleted_chunks)

    def rewritten(self) -> dict[str, int]:
        """Rows of unchanged documents that are written again, by root collection."""
        found: dict[str, int] = {}
        for table in self.tables:
            root = table.collection.partition("/")[0]
            found[root] = found.get(root, 0) + table.rewritten
        return found

    def of(self, table: str) -> TableIncrement | None:
        """The changes to the table of this name."""
        return next((found for found in self.tables if found.table == table), None)

    def before(self) -> dict[str, TablePlan]:
        """The plans of the tables that were published before, by table."""
        return {table.table: table.before for table in self.tables if table.before}


def read_increment(run: Path) -> Increment | None:
    """The increment of the run in this directory; None for a run of another mode."""
    file = run / INCREMENT
    return Increment.model_validate_json(read_sealed(file)) if file.is_file() else None
