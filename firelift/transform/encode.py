"""Document → row, compiled from a table's plan: one small writer per column, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from firelift.errors import FireliftError
from firelift.firestore.values import (
    KEY_OF,
    KIND_OF,
    ONEOF,
    Document,
    Timestamp,
    UnknownValueType,
    Value,
    WrappedKind,
    content_of,
    is_vector,
    odd_nan,
    vector_elements,
    whole_number,
    wrapped_kind,
)
from firelift.planning.model import Column, ColumnKind, FieldPath, TablePlan
from firelift.rfc3339 import MomentOutOfRange, microseconds
from firelift.transform.document_names import Ids, Names
from firelift.transform.readable_json import PLAIN, Exceptions, ReadableWriter, dumps, without_nul
from firelift.transform.residue import residue_of

Row = list[Any]
ColumnWriter = Callable[[Value, str | None, Row, Exceptions], bool]
"""(value, its oneof, row, exceptions) → False where the column cannot show such a value at all. Inexact values become exceptions."""

LONGEST_KEY: Final = 2704
"""Bytes of a btree entry (PostgreSQL's BTMaxItemSize for pages of 8 kB)."""
SURELY_SHORT: Final = 450
"""No key of a name with so few characters is too long: 4 bytes per character, 7 more per id."""


class Rejected(FireliftError):
    """A document cannot be stored in Postgres."""

    remedy = "It is kept whole under rejects/; raise --max-rejects to go on without it."

    @property
    def reason(self) -> str:
        """The same for every document that is rejected for it, so that reasons can be counted."""
        return str(self.facts["reason"])


class NotOfThisTable(FireliftError):
    """A document of another collection was given to this table's encoder."""


def compile_encoder(table: TablePlan, database: str) -> Callable[[bytes], Row]:
    """An encoder of serialized documents into rows in the order of `table.target_columns()`.

    It raises `Rejected` (reason, path) for a document that Postgres cannot store, and `UnknownValueType` (path, field).
    """
    return _Encoder(table, Names(database)).encode


def compile_parsed_encoder(table: TablePlan, database: str) -> Callable[[Document], Row]:
    """The same of documents that are parsed."""
    return _Encoder(table, Names(database)).encode_parsed


class _Encoder:
    def __init__(self, table: TablePlan, names: Names) -> None:
        columns = [name for name, _ in table.target_columns()]
        readable = ReadableWriter(names)
        self._blank: Row = [None] * len(columns)
        self._ids, self._keys = Ids(names, table.collection), len(table.keys)
        self._collection = table.collection
        self._writers: dict[str, ColumnWriter] = {}
        for column in table.columns:
            self._writers[column.top_level_field] = column_writer(column, columns.index(column.name), names)
        self._null_fields = frozenset(column.top_level_field for column in table.columns if column.null_means == "null")
        self._extra, self._readable = table.extra, readable

    def encode(self, data: bytes) -> Row:
        return self.encode_parsed(Document.FromString(data))

    def encode_parsed(self, document: Document) -> Row:
        try:
            return self._row(document)
        except (UnknownValueType, MomentOutOfRange) as error:
            raise type(error)(path=document.name, **error.facts) from None

    def _row(self, document: Document) -> Row:
        row, exceptions, strays = self._blank.copy(), Exceptions(), {}
        row[: self._keys] = self._key(document.name)
        fields, writers = document.fields, self._writers
        for field in fields:
            value = fields[field]
            write = writers.get(field)
            if write is None:
                strays[field] = value
                continue
            oneof = value.WhichOneof(ONEOF)
            if not write(value, oneof, row, exceptions):
                self._note(field, value, oneof, exceptions)
        for field in self._null_fields:
            if field not in fields:
                exceptions.append(((field,), None))
        if strays:
            self._write_strays(strays, row, exceptions)
        row[-3:-1] = _moment(document, "create_time"), _moment(document, "update_time")
        row[-1] = residue_of(document, exceptions)
        return row

    def _key(self, name: str) -> list[str]:
        ids = self._ids.of(name)
        if ids is None:
            raise NotOfThisTable(path=name, collection=self._collection)
        if "\0" in name:
            raise Rejected(reason="an id in its path contains NUL", path=name)
        if (size := key_size(ids) if len(name) > SURELY_SHORT else 0) > LONGEST_KEY:
            raise Rejected(reason=f"its ids are longer than the {LONGEST_KEY} bytes of an index entry", path=name, bytes=size)
        return ids

    def _note(self, field: str, value: Value, oneof: str | None, exceptions: Exceptions) -> None:
        if oneof not in KIND_OF:
            raise UnknownValueType(field=field)
        if oneof != "null_value" or field not in self._null_fields:
            exceptions.append(((field,), value))

    def _write_strays(self, strays: dict[str, Value], row: Row, exceptions: Exceptions) -> None:
        """Fields without a column go to `firestore_extra`, or to the residue in a table without it."""
        shape = self._extra
        shown = {}
        for field, value in strays.items():
            if shape is None or "\0" in field:
                exceptions.append(((field,), value))
            else:
                shown[field] = self._readable.write(value, shape.keys.get(field, shape.every or PLAIN), (field,), exceptions)
        if shown:
            row[-4] = dumps(shown)


def key_size(ids: list[str]) -> int:
    """Bytes of the index entry for these key columns: header, then each value with its length, aligned to 4."""
    return 8 + sum((4 + len(key.encode()) + 3) // 4 * 4 for key in ids)


def _moment(document: Document, name: Literal["create_time", "update_time"]) -> int | None:
    if not document.HasField(name):
        return None
    timestamp: Timestamp = getattr(document, name)
    return microseconds(timestamp.seconds, timestamp.nanos)


@dataclass(frozen=True, slots=True)
class Cell:
    """The cell that a writer fills: its column, the path of its field, and its position in the row."""

    column: Column
    path: FieldPath
    position: int
    names: Names
    readable: ReadableWriter


def _exact(oneof: str) -> Callable[[Cell], ColumnWriter]:
    """Writers for a type that Postgres stores exactly."""

    def writer(cell: Cell) -> ColumnWriter:
        position = cell.position

        def write(value: Value, found: str | None, row: Row, exceptions: Exceptions) -> bool:
            if found != oneof:
                return False
            row[position] = getattr(value, oneof)
            return True

        return write

    return writer


def _wrapped(kind: WrappedKind) -> Callable[[Cell], ColumnWriter]:
    key, attribute = KEY_OF[kind], content_of(kind)

    def writer(cell: Cell) -> ColumnWriter:
        position = cell.position

        def write(value: Value, found: str | None, row: Row, exceptions: Exceptions) -> bool:
            if found != "map_value" or wrapped_kind(value) != kind:
                return False
            row[position] = getattr(value.map_value.fields[key], attribute)
            return True

        return write

    return writer


def _integer(cell: Cell) -> ColumnWriter:
    path, position = cell.path, cell.position

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        number = row[position] = whole_number(value, oneof)
        if number is not None and oneof != "integer_value":
            exceptions.append((path, value))
        return number is not None

    return write


def _string(cell: Cell) -> ColumnWriter:
    path, position = cell.path, cell.position

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof != "string_value":
            return False
        text = value.string_value
        if "\0" in text:
            exceptions.append((path, value))
            text = without_nul(text)
        row[position] = text
        return True

    return write


def _double(cell: Cell) -> ColumnWriter:
    path, position = cell.path, cell.position

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof == "double_value":
            number = row[position] = value.double_value
            if number != number and odd_nan(number):
                exceptions.append((path, value))
            return True
        whole = whole_number(value, oneof)
        if whole is None:
            return False
        row[position] = float(whole)
        exceptions.append((path, value))
        return True

    return write


def _timestamp(cell: Cell) -> ColumnWriter:
    path, position = cell.path, cell.position

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof != "timestamp_value":
            return False
        moment = value.timestamp_value
        nanos = moment.nanos
        row[position] = microseconds(moment.seconds, nanos)
        if nanos % 1000:
            exceptions.append((path, value))
        return True

    return write


def _reference(cell: Cell) -> ColumnWriter:
    path, position, names = cell.path, cell.position, cell.names

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof != "reference_value":
            return False
        name = value.reference_value
        row[position] = without_nul(names.path(name))
        if not names.exact(name):
            exceptions.append((path, value))
        return True

    return write


def _link(cell: Cell) -> ColumnWriter:
    reference = cell.column.reference
    assert reference is not None, f"{cell.column.name} holds a link to nowhere"
    ids_in, own, ancestors = Ids(cell.names, reference.collection), cell.position, cell.position + 1
    end = ancestors + len(reference.ancestors)

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof != "reference_value":
            return False
        name = value.reference_value
        ids = ids_in.of(name)
        if ids is None or "\0" in name:
            return False
        row[own] = ids.pop()
        row[ancestors:end] = ids
        return True

    return write


def _array(oneof: str, show: Callable[[list[Any], Cell, Value, Exceptions], list[Any]]) -> Callable[[Cell], ColumnWriter]:
    """Writers for arrays of one type; `show` makes the cell of the elements, and adds exceptions for inexact ones."""

    def writer(cell: Cell) -> ColumnWriter:
        position = cell.position

        def write(value: Value, found: str | None, row: Row, exceptions: Exceptions) -> bool:
            if found != "array_value":
                return False
            values = value.array_value.values
            elements = [getattr(element, oneof) for element in values if element.WhichOneof(ONEOF) == oneof]
            if len(elements) != len(values):
                return False
            row[position] = show(elements, cell, value, exceptions)
            return True

        return write

    return writer


def _as_they_are(elements: list[Any], cell: Cell, value: Value, exceptions: Exceptions) -> list[Any]:
    return elements


def _texts(elements: list[str], cell: Cell, value: Value, exceptions: Exceptions) -> list[str]:
    if "\0" not in "".join(elements):
        return elements
    _note_elements(cell, value, exceptions, ["\0" in text for text in elements])
    return [without_nul(text) for text in elements]


def _numbers(elements: list[float], cell: Cell, value: Value, exceptions: Exceptions) -> list[float]:
    _note_elements(cell, value, exceptions, [odd_nan(number) for number in elements])
    return elements


def _moments(elements: list[Timestamp], cell: Cell, value: Value, exceptions: Exceptions) -> list[int]:
    _note_elements(cell, value, exceptions, [moment.nanos % 1000 != 0 for moment in elements])
    return [microseconds(moment.seconds, moment.nanos) for moment in elements]


def _note_elements(cell: Cell, value: Value, exceptions: Exceptions, inexact: list[bool]) -> None:
    if True in inexact:
        values = value.array_value.values
        exceptions.extend(((*cell.path, index), values[index]) for index, odd in enumerate(inexact) if odd)


def _vector(cell: Cell) -> ColumnWriter:
    path, position = cell.path, cell.position

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof != "map_value" or not is_vector(value):
            return False
        elements = row[position] = vector_elements(value)
        if any(map(odd_nan, elements)):
            exceptions.append((path, value))
        return True

    return write


def _json(cell: Cell) -> ColumnWriter:
    path, position, shape, readable = cell.path, cell.position, cell.column.shape or PLAIN, cell.readable

    def write(value: Value, oneof: str | None, row: Row, exceptions: Exceptions) -> bool:
        if oneof == "null_value":
            return False
        row[position] = dumps(readable.write(value, shape, path, exceptions))
        return True

    return write


_COLUMN_WRITERS: dict[ColumnKind, Callable[[Cell], ColumnWriter]] = {
    "string": _string,
    "integer": _integer,
    "double": _double,
    "boolean": _exact("boolean_value"),
    "timestamp": _timestamp,
    "bytes": _exact("bytes_value"),
    "reference": _reference,
    "link": _link,
    "strings": _array("string_value", _texts),
    "integers": _array("integer_value", _as_they_are),
    "doubles": _array("double_value", _numbers),
    "booleans": _array("boolean_value", _as_they_are),
    "timestamps": _array("timestamp_value", _moments),
    "vector": _vector,
    "int32": _wrapped("int32"),
    "decimal128": _wrapped("decimal128"),
    "object_id": _wrapped("object_id"),
    "json": _json,
}


def column_writer(column: Column, position: int, names: Names) -> ColumnWriter:
    """Writes the column's values into this position of a row, and the ids of a referenced document's ancestors behind it."""
    return _COLUMN_WRITERS[column.kind](Cell(column, column.path, position, names, ReadableWriter(names)))
