"""The plan: the table, columns and keys for the documents of each collection.

A collection is named by its *collection path without document ids*: `users`, `users/*/orders`. The plan is data: it is
kept as JSON in the working directory and in `firelift.tables`, and everything that reads or writes rows follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from firelift.files import read_sealed, write_sealed

PLAN: Final = "plan.json"

PgType = Literal[
    "text",
    "bigint",
    "double precision",
    "boolean",
    "timestamptz",
    "bytea",
    "jsonb",
    "text[]",
    "bigint[]",
    "double precision[]",
    "boolean[]",
    "timestamptz[]",
]

# What a column contains. "reference" is a path as text, "link" the id of a document of one collection, "json" readable JSON; each of
# the others has one Firestore type ("double" also has integers of either size and "integer" those of 32 bits, which the residue lists).
ColumnKind = Literal[
    "string",
    "integer",
    "double",
    "boolean",
    "timestamp",
    "bytes",
    "reference",
    "link",
    "strings",
    "integers",
    "doubles",
    "booleans",
    "timestamps",
    "vector",
    "int32",
    "decimal128",
    "object_id",
    "json",
]

TYPE_OF: dict[ColumnKind, PgType] = {
    "string": "text",
    "integer": "bigint",
    "double": "double precision",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "bytes": "bytea",
    "reference": "text",
    "link": "text",
    "strings": "text[]",
    "integers": "bigint[]",
    "doubles": "double precision[]",
    "booleans": "boolean[]",
    "timestamps": "timestamptz[]",
    "vector": "double precision[]",
    "int32": "bigint",
    "decimal128": "text",
    "object_id": "text",
    "json": "jsonb",
}

CREATED_AT, UPDATED_AT, RESIDUE, EXTRA, DELETED_AT = (
    "firestore_created_at",
    "firestore_updated_at",
    "firestore_residue",
    "firestore_extra",
    "firestore_deleted_at",
)


FieldPath = Annotated[tuple[str, ...], Field(min_length=1)]
"""From the top-level field down: the field, then map keys. A top-level field has a path of one segment."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shape(Frozen):
    """How to read the JSON of a jsonb column back: the Firestore type of a JSON string, object or array.

    Booleans, numbers and null need no shape; a value that differs from the shape is in the residue.
    """

    string: Literal["string", "timestamp", "bytes", "reference", "double"] = "string"
    object: Literal["map", "geopoint"] = "map"
    array: Literal["array", "vector"] = "array"
    keys: dict[str, Shape] = Field(default_factory=dict)
    every: Shape | None = None
    """The shape of array elements, and of map values whose key is not in `keys`; None: the plain shape."""


class ReferenceTarget(Frozen):
    """A field whose references all lead to one migrated collection."""

    collection: str
    ancestors: tuple[str, ...] = ()
    """Columns with the ids of the referenced document's ancestors, outermost first."""


class Column(Frozen):
    """A field and the column that shows it."""

    name: str
    path: FieldPath
    kind: ColumnKind
    null_means: Literal["missing", "null"] = "missing"
    """What SQL NULL in this column means for a document whose residue does not mention the field."""
    shape: Shape | None = None
    reference: ReferenceTarget | None = None

    @property
    def type(self) -> PgType:
        return TYPE_OF[self.kind]

    def target_columns(self) -> list[tuple[str, PgType]]:
        """The column with its type, and after it those with the ids of a referenced document's ancestors."""
        return [(self.name, self.type), *((ancestor, "text") for ancestor in (self.reference.ancestors if self.reference else ()))]

    @property
    def dotted_path(self) -> str:
        """The path for people to read: for a top-level field its name."""
        return ".".join(self.path)

    @property
    def top_level_field(self) -> str:
        """The field; raises ValueError for a column of something inside a map, which rows cannot be made of yet."""
        [field] = self.path
        return field


class TablePlan(Frozen):
    """One collection and its table."""

    collection: str
    table: str
    keys: tuple[str, ...]
    """Key columns, outermost ancestor first, the document's own `id` last."""
    columns: tuple[Column, ...]
    extra: Shape | None = None
    """Set when some fields are in `firestore_extra`: the shape of that object."""
    parent: str | None = None
    """The collection of the parent document, for nested collections."""
    marks_deleted: bool = False
    """Set in `firelift.tables` when the published table has the column `firestore_deleted_at`: a row with a time there belongs to a
    document that was deleted in Firestore. Never set in a run's own plan, because staging tables have no such column."""
    former: tuple[Column, ...] = ()
    """Columns that earlier full runs gave the table and whose fields no document has now: they stay, NULL in every row."""

    def earlier_columns(self) -> tuple[Column, ...]:
        """Every column that Firelift has given the table; of two for the same field the one in use comes last."""
        return (*self.former, *self.columns)

    def reference_columns(self) -> set[str]:
        """The columns that hold ids of referenced documents and of their ancestors."""
        return {name for column in self.columns if column.reference for name in (column.name, *column.reference.ancestors)}

    def target_columns(self) -> list[tuple[str, PgType]]:
        """Every column of the table with its type, in the order of the table, the Parquet files and COPY."""
        listed: list[tuple[str, PgType]] = [(key, "text") for key in self.keys]
        for column in self.columns:
            listed.extend(column.target_columns())
        if self.extra is not None:
            listed.append((EXTRA, "jsonb"))
        return [*listed, (CREATED_AT, "timestamptz"), (UPDATED_AT, "timestamptz"), (RESIDUE, "jsonb")]


class Plan(Frozen):
    """The tables of a migration. `database` is the resource name `projects/{project}/databases/{database}`."""

    database: str
    tables: tuple[TablePlan, ...]

    def table_of(self, collection: str) -> TablePlan:
        return next(table for table in self.tables if table.collection == collection)


def read_plan(run: Path) -> Plan:
    """The plan of the run in this directory; raises FileChanged, and FileNotFoundError where it has none yet."""
    return Plan.model_validate_json(read_sealed(run / PLAN))


def keep_plan(run: Path, plan: Plan) -> None:
    """Writes the plan where `read_plan` finds it."""
    write_sealed(run / PLAN, written(plan))


def written(plan: Plan) -> str:
    """The plan as text, the same for the same plan."""
    return plan.model_dump_json(indent=1)
