"""A document beside its row, in lines for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from firelift.firestore.values import Timestamp, tagged
from firelift.formatting import aligned, plain, shortened
from firelift.migration.published.one_document import ShownDocument
from firelift.planning.model import CREATED_AT, EXTRA, RESIDUE, UPDATED_AT, PgType
from firelift.rfc3339 import MomentOutOfRange, from_microseconds, rfc3339
from firelift.verification.rendering import render, render_cell

NOTHING = "–"
LONGEST = 60
"""Characters of a value."""


def document_text(shown: ShownDocument) -> str:
    """Field by field what the document and the columns hold, the residue, and whether both say the same; long values are cut."""
    cells = [("field", "in Firestore", "column", "in PostgreSQL"), *_cells(shown)]
    are_cut = any(len(cell) > LONGEST for row in cells for cell in row)
    lines = [
        f"{plain(shown.path)} -> {plain(shown.table.schema)}.{plain(shown.table.name)}",
        f"  document: {_document(shown)}",
        f"  row: {_row(shown)}",
        "",
        *aligned([[shortened(cell, LONGEST) for cell in row] for row in cells]),
        *(["  (… `--json` prints the whole values)"] if are_cut else []),
        "",
        *_verdict(shown),
    ]
    return "\n".join(lines) + "\n"


def document_json(shown: ShownDocument) -> dict[str, Any]:
    """The document as Firestore's REST API would give it, the row as text by column, and the differences."""
    fields = shown.document.fields if shown.document is not None else {}
    return {
        "path": shown.path,
        "table": f"{shown.table.schema}.{shown.table.name}",
        "migrationId": shown.run.migration_id,
        "readTime": shown.run.read_time,
        "foundIn": shown.found.where,
        "document": {name: tagged(fields[name]) for name in sorted(fields)} if shown.document is not None else None,
        "rejected": shown.rejected,
        "row": _by_column(shown),
        "equal": shown.is_as_expected and shown.row is not None,
        "differences": [differs._asdict() for differs in shown.differences],
    }


def _document(shown: ShownDocument) -> str:
    if shown.document is None:
        return f"none, in {shown.found.where}"
    return f"{shown.found.where}{'; it was rejected, so it has no row' if shown.rejected else ''}"


def _row(shown: ShownDocument) -> str:
    return f"published by {shown.run.migration_id}" if shown.row is not None else "none"


def _by_column(shown: ShownDocument) -> Mapping[str, str] | None:
    if shown.row is None:
        return None
    columns = shown.table.plan.target_columns()
    return {name: _cell(pg_type, cell) for (name, pg_type), cell in zip(columns, shown.row, strict=True)}


def _cell(pg_type: PgType, cell: Any) -> str:
    """A cell as its type reads; as it is where somebody has given the column another type."""
    if pg_type == "jsonb" and isinstance(cell, str):
        return cell
    if pg_type == "timestamptz[]" and isinstance(cell, list):
        return f"{{{', '.join(_cell('timestamptz', one) for one in cell)}}}"
    if pg_type == "timestamptz" and isinstance(cell, int):
        with suppress(MomentOutOfRange):
            seconds, nanos = from_microseconds(cell)
            return rfc3339(seconds, nanos)
    return render_cell(cell)


def _cells(shown: ShownDocument) -> Iterator[tuple[str, str, str, str]]:
    """Keys, then fields with their columns, fields without one, times and residue."""
    plan, row = shown.table.plan, _by_column(shown) or {}
    fields = shown.document.fields if shown.document is not None else {}
    ids = shown.path.split("/")[1::2]
    for key, own in zip(plan.keys, ids, strict=True):
        yield "", own, key, row.get(key, NOTHING)
    columns = {column.top_level_field: column for column in plan.columns}
    for name in sorted({*fields, *columns}):
        value = render(fields[name]) if name in fields else NOTHING
        if name not in columns:
            yield name, value, EXTRA if plan.extra is not None else RESIDUE, "(below)"
            continue
        names = [target for target, _ in columns[name].target_columns()]
        yield name, value, names[0], row.get(names[0], NOTHING)
        for ancestor in names[1:]:
            yield "", "", ancestor, row.get(ancestor, NOTHING)
    if plan.extra is not None:
        yield "", "", EXTRA, row.get(EXTRA, NOTHING)
    document = shown.document
    for time, column in (("create_time", CREATED_AT), ("update_time", UPDATED_AT)):
        moment = _time(getattr(document, time)) if document is not None else NOTHING
        yield f"({time.replace('_', ' ')})", moment, column, row.get(column, NOTHING)
    yield "", "", RESIDUE, row.get(RESIDUE, NOTHING)


def _time(moment: Timestamp) -> str:
    return rfc3339(moment.seconds, moment.nanos)


def _verdict(shown: ShownDocument) -> Iterator[str]:
    if shown.rejected:
        yield f"PostgreSQL cannot hold the document, because {shown.rejected}; it is kept whole under rejects/."
    elif shown.is_as_expected:
        yield "Equal: the row decodes to this document, to the last bit, and each column shows what was made of it."
    else:
        yield "NOT equal:"
        for differs in shown.differences:
            field = f"{plain(differs.field)}: " if differs.field else ""
            yield f"  {field}{differs.what}: expected {plain(differs.expected)}, found {plain(differs.found)}"
        if not shown.found.is_of_the_snapshot:
            yield "The document may have changed since the snapshot that the table holds."
