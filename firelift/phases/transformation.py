"""Transformation: turns archived documents into typed rows, table by table, as Parquet."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from firelift.errors import FireliftError
from firelift.files import FileChanged, write_sealed, write_whole
from firelift.firestore import fields
from firelift.firestore.values import Document, tagged
from firelift.paths import collection_of
from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.build import why_no_table
from firelift.planning.model import Plan, TablePlan, read_plan
from firelift.receipts import ChunkTransformed, Extracted, RootGroup, TableCounts, Transformed, by_root, shared, summed, tallied
from firelift.storage.archive import ArchiveDamaged, StoredFile, file_name, ranges, read_digest, read_parquet, write_parquet
from firelift.storage.column_stats import rows_directory, with_column_stats
from firelift.storage.transformed import read_receipt, read_rejects, receipt_path, rejects_path
from firelift.transform import ColumnEncoder, Rejected, compile_encoder
from firelift.transform.residue_causes import residue_causes
from firelift.workers import Workers

Row = list[Any]
Progress = Callable[[Mapping[str, int]], None]
"""Is called with the documents transformed since its last call, by root collection."""


class ArchiveIncomplete(FireliftError):
    """The archive no longer holds what was extracted into it."""

    remedy = "Part of the run's directory is gone or was left behind when it was copied: start a new run."


def transform_collection(workers: Workers, run: Path, root: RootGroup, progress: Progress) -> Transformed:
    """Rows for every archived document of root collections and of everything beneath them."""
    calls = [
        (run, chunk.name, part.file(chunk))
        for part in ranges(run / "archive" / file_name(root.collection))
        for chunk in part.chunks()
        if chunk.documents
    ]
    done = []
    for chunk in workers.each(transform_chunk, calls):
        progress(by_root({collection: counts.rows + counts.rejected for collection, counts in chunk.tables.items()}))
        done.append(chunk)
    return Transformed(
        collection=root.collection,
        beside=root.beside,
        digest=read_digest(run / "archive" / file_name(root.collection)) or "",
        documents=sum(chunk.documents for chunk in done),
        chunks=len(done),
        tables=summed([chunk.tables for chunk in done]),
        reasons=tallied([chunk.reasons for chunk in done]),
        remade=tuple(sorted(file for chunk in done for file in chunk.remade)),
    )


def archived_documents(run: Path, root: RootGroup) -> dict[str, int]:
    """By root collection how many documents of it, and of everything beneath it, are to be transformed."""
    chunks = (chunk for part in ranges(run / "archive" / file_name(root.collection)) for chunk in part.chunks())
    found = shared(chunk.shares for chunk in chunks)
    return {name: found[name]["documents"] if name in found else 0 for name in (*root.collections, *found)}


def refuse_incomplete(extracted: Sequence[Extracted], transformed: Sequence[Transformed], rewritten: Mapping[str, int]) -> None:
    """Raises ArchiveIncomplete for root collections whose transformed documents are not those extracted, or read from the target;
    ArchiveDamaged where they were made from other chunks.

    Receipts may outlive the archive: a chunk that is no longer there would count as transformed, and nothing later would notice.
    """
    found = {part.collection: part for part in transformed}
    for part in extracted:
        archived = part.documents + sum(rewritten.get(name, 0) for name in part.collections)
        done = found.get(part.collection) or Transformed(collection=part.collection, documents=0, chunks=0)
        if done.documents != archived:
            raise ArchiveIncomplete(collection=part.label, extracted=archived, transformed=done.documents)
        if part.collection in found and done.digest != part.digest:
            raise ArchiveDamaged(collection=part.label, why="it is not the one that its receipt describes")


def transform_chunk(run: Path, name: str, archived: StoredFile, report: Callable[[Any], None]) -> ChunkTransformed:
    """One archive chunk as one Parquet file a table; its receipt is written last, when all of them are complete."""
    receipt, changed = receipt_path(run, name), list[str]()
    if (existing := existing_receipt(run, name, changed.append)) is not None:
        return existing
    plan, encoders = _compiled(run)
    documents = read_parquet(archived, ["path", "document"])
    paths, serialized = documents["path"].to_pylist(), documents["document"].combine_chunks()
    encoded = [_encode(encoders, collection, paths, serialized, rows) for collection, rows in _by_collection(paths).items()]
    files = {part.collection: _write_rows(run, plan.table_of(part.collection), name, part.rows) for part in encoded if len(part.rows)}
    rejects = [reject for _, reject in sorted((place, reject) for part in encoded for place, reject in part.rejects)]
    done = _receipt(plan, name, encoded, rejects, files, _write_rejects(run, name, rejects))
    write_sealed(receipt, done.model_dump_json())
    return done.model_copy(update={"remade": tuple(changed)})


def existing_receipt(run: Path, name: str, changed: Callable[[str], None] = lambda _: None) -> ChunkTransformed | None:
    """The receipt of a transformed chunk. None where there is none, or where it cannot be read: then the chunk is transformed again.

    So can the chunk's rejected documents. `changed` is called with the file that is not as it was written.
    """
    try:
        receipt = read_receipt(run, name)
        read_rejects(run, receipt)
    except FileChanged as found:
        changed(str(found.facts["file"]))
        return None
    except (FileNotFoundError, ValueError):
        return None
    return receipt


def transform_again(run: Path, name: str, archived: StoredFile) -> ChunkTransformed:
    """Makes the rows of a chunk again after one of their files was damaged."""
    receipt_path(run, name).unlink(missing_ok=True)
    return transform_chunk(run, name, archived, lambda _: None)


def receipts_are_whole(run: Path, collection: str) -> bool:
    """Whether every archived chunk of a root collection, and of those archived with it, is there with its unchanged receipt."""
    chunks = [(part, chunk) for part in ranges(run / "archive" / file_name(collection)) for chunk in part.chunks() if chunk.documents]
    whole = all(part.path(chunk).is_file() and existing_receipt(run, chunk.name) is not None for part, chunk in chunks)
    return whole and (run / "archive" / file_name(collection)).is_dir()


def is_begun(run: Path) -> bool:
    """Whether any chunk has been transformed."""
    return any(file.is_file() for file in (run / "transformed").rglob("*.json"))


def table_path(run: Path, table: TablePlan, name: str) -> Path:
    """The Parquet file with the rows of one chunk of one table."""
    return rows_directory(run, table) / f"{name.replace('/', '-')}.parquet"


@lru_cache(maxsize=2)
def _compiled(run: Path) -> tuple[Plan, dict[str, _Encoders]]:
    plan = read_plan(run)
    return plan, {table.collection: _Encoders(table, plan.database) for table in plan.tables}


class _Encoders:
    """Both ways to encode documents of a table."""

    def __init__(self, table: TablePlan, database: str) -> None:
        self.schema = arrow_schema(table)
        self.one, self.many = compile_encoder(table, database), ColumnEncoder(table, database)


@dataclass(frozen=True)
class _Encoded:
    """What became of a chunk's documents of one collection."""

    collection: str
    rows: pa.Table
    residues: Sequence[str]
    rejects: Sequence[tuple[int, dict[str, Any]]]
    """With their places in the chunk."""


def _by_collection(paths: Sequence[str]) -> dict[str, list[int]]:
    """The places of the documents of each collection."""
    found: dict[str, list[int]] = {}
    for place, path in enumerate(paths):
        found.setdefault(collection_of(path), []).append(place)
    return found


def _encode(
    encoders: Mapping[str, _Encoders], collection: str, paths: Sequence[str], serialized: pa.BinaryArray, places: Sequence[int]
) -> _Encoded:
    rejects: list[tuple[int, dict[str, Any]]] = []
    if reason := why_no_table(collection):
        for place in places:
            document = serialized[place].as_py()
            rejects.append((place, _reject(collection, paths[place], document, Rejected(reason=reason, path=paths[place]))))
        return _Encoded(collection, pa.table({}), (), rejects)
    own = encoders[collection]
    rows, left = own.schema.empty_table(), np.ones(len(places), bool)
    if len(places) >= fields.fewest_together:
        rows, left = own.many.encode(fields.Documents(serialized if len(places) == len(serialized) else serialized.take(pa.array(places))))
    singles: list[tuple[int, Row]] = []
    for number in np.flatnonzero(left).tolist():
        place = places[number]
        document = serialized[place].as_py()
        try:
            singles.append((number, own.one(document)))
        except Rejected as rejected:
            rejects.append((place, _reject(collection, paths[place], document, rejected)))
    residues = [row[-1] for _, row in singles if row[-1] is not None]
    return _Encoded(collection, _in_order(own.schema, rows, np.flatnonzero(~left), singles), residues, rejects)


def _in_order(schema: pa.Schema, rows: pa.Table, numbers: npt.NDArray[np.int64], singles: Sequence[tuple[int, Row]]) -> pa.Table:
    """Rows that were made together, and their numbers, with those that were made one by one."""
    if not singles:
        return rows
    columns = zip(*(row for _, row in singles), strict=True)
    others = pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
    places = np.concatenate([numbers, [number for number, _ in singles]])
    return pa.concat_tables([rows, others]).take(pa.array(np.argsort(places)))


def _write_rows(run: Path, table: TablePlan, name: str, rows: pa.Table) -> str:
    path = table_path(run, table, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return write_parquet(with_column_stats(rows, table), path)


def _reject(collection: str, path: str, document: bytes, rejected: Rejected) -> dict[str, Any]:
    found = Document.FromString(document).fields
    readable = {name: tagged(found[name]) for name in found}
    return {
        "path": path,
        "collection": collection,
        "reason": rejected.reason,
        "fields": readable,
        "document": base64.b64encode(document).decode(),
    }


def _write_rejects(run: Path, name: str, rejects: list[dict[str, Any]]) -> str | None:
    """Returns the digest of the file; None where there is none to write."""
    if not rejects:
        return None
    text = "".join(json.dumps(reject) + "\n" for reject in rejects)
    write_whole(rejects_path(run, name), text)
    return hashlib.sha256(text.encode()).hexdigest()


def _receipt(
    plan: Plan, name: str, encoded: Sequence[_Encoded], rejects: list[dict[str, Any]], files: dict[str, str], rejects_sha256: str | None
) -> ChunkTransformed:
    tables = {part.collection: _counted(plan.table_of(part.collection), part) for part in encoded if len(part.rows)}
    for reject in rejects:
        tables[reject["collection"]] = tables.get(reject["collection"], TableCounts()) + TableCounts(rejected=1)
    reasons = tallied([{reject["reason"]: 1} for reject in rejects])
    documents = sum(len(part.rows) for part in encoded) + len(rejects)
    return ChunkTransformed(chunk=name, documents=documents, tables=tables, reasons=reasons, files=files, rejects=rejects_sha256)


def _counted(table: TablePlan, part: _Encoded) -> TableCounts:
    return TableCounts(rows=len(part.rows), residue=len(part.residues), causes=residue_causes(table, part.residues))
