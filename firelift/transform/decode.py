"""Row → document, compiled from a table's plan: the exact inverse of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from firelift.errors import FireliftError
from firelift.firestore.values import KEY_OF, Document, Timestamp, Value, WrappedKind, content_of, set_array, set_moment, set_vector
from firelift.planning.model import Column, ColumnKind, TablePlan
from firelift.rfc3339 import from_microseconds
from firelift.transform.document_names import Ids, Names
from firelift.transform.readable_json import PLAIN, ReadableReader
from firelift.transform.residue import apply_residue

Row = Sequence[Any]
ColumnReader = Callable[[Row, Value], None]
"""Sets an empty value from its column, which is not NULL."""


class UnreadableRow(FireliftError):
    """A row cannot be read as a document."""

    remedy = "Something other than Firelift changed the row or its table's plan."


def compile_decoder(table: TablePlan, database: str) -> Callable[[Row], Document]:
    """A decoder of rows in the order of `table.target_columns()`, from the encoder or from Postgres (jsonb as text).

    It raises `UnreadableRow` (table, key) for a row that no encoder made.
    """
    return _Decoder(table, Names(database)).decode


class _Decoder:
    def __init__(self, table: TablePlan, names: Names) -> None:
        columns = [name for name, _ in table.target_columns()]
        reader = ReadableReader(names)
        self._table, self._ids, self._keys = table.table, Ids(names, table.collection), len(table.keys)
        self._readers: list[tuple[int, str, ColumnReader, bool]] = []
        for column in table.columns:
            position = columns.index(column.name)
            read = _COLUMN_READERS[column.kind](Cell(column, position, names, reader))
            self._readers.append((position, column.top_level_field, read, column.null_means == "null"))
        self._extra, self._reader = table.extra, reader

    def decode(self, row: Row) -> Document:
        document = Document()
        try:
            self._read(row, document)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as cause:
            raise UnreadableRow(table=self._table, key=list(row[: self._keys]), cause=repr(cause)) from cause
        return document

    def _read(self, row: Row, document: Document) -> None:
        document.name = self._ids.name(row[: self._keys])
        fields = document.fields
        for position, field, put, null_is_null in self._readers:
            if row[position] is not None:
                put(row, fields[field])
            elif null_is_null:
                fields[field].null_value = 0
        if self._extra is not None and row[-4] is not None:
            self._read_extra(row[-4], document)
        _read_moment(row[-3], document.create_time)
        _read_moment(row[-2], document.update_time)
        if row[-1] is not None:
            apply_residue(row[-1], document)

    def _read_extra(self, text: str, document: Document) -> None:
        shape = self._extra or PLAIN
        for field, shown in orjson.loads(text).items():
            self._reader.read(shown, shape.keys.get(field, shape.every or PLAIN), document.fields[field])


def _read_moment(stamp: int | None, timestamp: Timestamp) -> None:
    if stamp is not None:
        set_moment(timestamp, from_microseconds(stamp))


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a value is read from: a column and its position in the row."""

    column: Column
    position: int
    names: Names
    reader: ReadableReader


def _exact(attribute: str) -> Callable[[Cell], ColumnReader]:
    def reader(cell: Cell) -> ColumnReader:
        position = cell.position
        return lambda row, value: setattr(value, attribute, row[position])

    return reader


def _timestamp(cell: Cell) -> ColumnReader:
    position = cell.position
    return lambda row, value: set_moment(value.timestamp_value, from_microseconds(row[position]))


def _reference(cell: Cell) -> ColumnReader:
    position, name = cell.position, cell.names.name

    def put(row: Row, value: Value) -> None:
        value.reference_value = name(row[position])

    return put


def _link(cell: Cell) -> ColumnReader:
    reference = cell.column.reference
    assert reference is not None, f"{cell.column.name} holds a link to nowhere"
    name, own, ancestors = Ids(cell.names, reference.collection).name, cell.position, cell.position + 1
    end = ancestors + len(reference.ancestors)

    def put(row: Row, value: Value) -> None:
        value.reference_value = name([*row[ancestors:end], row[own]])

    return put


def _array(attribute: str) -> Callable[[Cell], ColumnReader]:
    def reader(cell: Cell) -> ColumnReader:
        position = cell.position
        return lambda row, value: set_array(value, attribute, row[position])

    return reader


def _timestamps(cell: Cell) -> ColumnReader:
    position = cell.position

    def put(row: Row, value: Value) -> None:
        value.array_value.SetInParent()
        for stamp in row[position]:
            set_moment(value.array_value.values.add().timestamp_value, from_microseconds(stamp))

    return put


def _vector(cell: Cell) -> ColumnReader:
    position = cell.position
    return lambda row, value: set_vector(value, row[position])


def _wrapped(kind: WrappedKind) -> Callable[[Cell], ColumnReader]:
    key, attribute = KEY_OF[kind], content_of(kind)

    def reader(cell: Cell) -> ColumnReader:
        position = cell.position
        return lambda row, value: setattr(value.map_value.fields[key], attribute, row[position])

    return reader


def _json(cell: Cell) -> ColumnReader:
    position, shape, read = cell.position, cell.column.shape or PLAIN, cell.reader.read
    return lambda row, value: read(orjson.loads(row[position]), shape, value)


_COLUMN_READERS: Final[dict[ColumnKind, Callable[[Cell], ColumnReader]]] = {
    "string": _exact("string_value"),
    "integer": _exact("integer_value"),
    "double": _exact("double_value"),
    "boolean": _exact("boolean_value"),
    "timestamp": _timestamp,
    "bytes": _exact("bytes_value"),
    "reference": _reference,
    "link": _link,
    "strings": _array("string_value"),
    "integers": _array("integer_value"),
    "doubles": _array("double_value"),
    "booleans": _array("boolean_value"),
    "timestamps": _timestamps,
    "vector": _vector,
    "int32": _wrapped("int32"),
    "decimal128": _wrapped("decimal128"),
    "object_id": _wrapped("object_id"),
    "json": _json,
}
