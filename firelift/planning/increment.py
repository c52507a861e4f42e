"""What an incremental run changes in each table of the target: small data, kept as JSON in the run's directory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from firelift.files import read_sealed
from firelift.planning.model import Frozen, PgType, TablePlan

Deletes = Literal["propagate", "mark", "ignore"]
SchemaChanges = Literal["evolve", "freeze", "fail"]

INCREMENT = "increment.json"


class SchemaStep(Frozen):
    """A change to a table that new fields or new types of values ask for."""

    collection: str
    table: str
    kind: Literal["new table", "new column", "wider column"]
    column: str = ""
    field: str = ""
    before: PgType | None = None
    """The type of a wider column until now."""
    after: PgType | None = None

    def __str__(self) -> str:
        if self.kind == "new table":
            return f"{self.table}: new table for {self.collection}"
        return f"{self.table}.{self.column}: {self.kind}, {self._change()}, for the field {self.field}"

    def _change(self) -> str:
        if self.kind == "wider column" and self.before == self.after:
            return "paths of documents instead of ids"
        return f"{self.after} instead of {self.before}" if self.before else str(self.after)


class TableIncrement(Frozen):
    """One table of an increment. The plan that its staged rows follow is the run's own (plan.json)."""

    collection: str
    table: str
    before: TablePlan | None = None
    """The plan by which the table was published; None for a collection that is migrated whole."""
    base: str | None = None
    """The run that published it last: the difference is one from that run's rows and from no others."""
    steps: tuple[SchemaStep, ...] = ()
    keys: int = 0
    """Documents of the collection at the read time."""
    scanned: bool = True
    """All keys were compared; else `keys` says nothing and nothing is known of documents that are gone."""
    new: int = 0
    changed: int = 0
    deleted: int = 0
    keeps_deleted: bool = False
    """Rows whose documents are gone are left as they are; they are counted in every run."""
    rewritten: int = 0
    """Rows whose documents have not changed and which are written anew because a column of theirs holds something else now."""

    deleted_chunks: str | None = None
    """What the names of those archive chunks begin with in which rewritten rows stand for documents that Firestore has no more."""

    @property
    def touched(self) -> bool:
        """Whether anything but the watermark changes."""
        goes = 0 if self.keeps_deleted else self.deleted
        return self.before is None or bool(self.new or self.changed or goes or self.rewritten or self.steps)


class Increment(Frozen):
    """All tables that an incremental run speaks for, those in which nothing has changed too."""

    deletes: Deletes = "propagate"
    tables: tuple[TableIncrement, ...] = ()

    @property
    def touched(self) -> bool:
        """Whether anything but watermarks changes."""
        return any(table.touched for table in self.tables)

    def deleted_chunks(self) -> tuple[str, ...]:
        """Beginnings of the names of archive chunks with documents that Firestore has no more."""
        return tuple(table.deleted_chunks for table in self.tables if table.deleted_chunks)

    def rewritten(self) -> dict[str, int]:
        """Rows that are written anew, by root collection."""
        found: dict[str, int] = {}
        for table in self.tables:
            root = table.collection.partition("/")[0]
            found[root] = found.get(root, 0) + table.rewritten
        return found

    def of(self, table: str) -> TableIncrement | None:
        """What the run does to the table of this name."""
        return next((each for each in self.tables if each.table == table), None)

    def before(self) -> dict[str, TablePlan]:
        """The plans, by table, of those that were published before."""
        return {each.table: each.before for each in self.tables if each.before}


def read_increment(run: Path) -> Increment | None:
    """That of the run in this directory; None for a run of another mode."""
    file = run / INCREMENT
    return Increment.model_validate_json(read_sealed(file)) if file.is_file() else None
