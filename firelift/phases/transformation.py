"""Transformation: turns archived documents into typed rows, table by table, as Parquet."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from firelift.errors import FireliftError
from firelift.files import FileChanged, write_sealed, write_whole
from firelift.firestore.values import Document, tagged
from firelift.paths import collection_of
from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.build import why_no_table
from firelift.planning.model import Plan, TablePlan, read_plan
from firelift.receipts import ChunkTransformed, Extracted, RootGroup, TableCounts, Transformed, by_root, shared, summed, tallied
from firelift.storage.archive import ArchiveDamaged, StoredFile, file_name, ranges, read_chunk, read_digest, write_parquet
from firelift.storage.column_stats import rows_directory, with_column_stats
from firelift.storage.transformed import read_receipt, read_rejects, receipt_path, rejects_path
from firelift.transform import Rejected, compile_encoder
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
    rows: dict[str, list[Row]] = defaultdict(list)
    rejects: list[dict[str, Any]] = []
    for path, document in read_chunk(archived):
        collection = collection_of(path)
        try:
            row = _encoder(encoders, collection, path)(document)
        except Rejected as rejected:
            rejects.append(_reject(collection, path, document, rejected))
        else:
            rows[collection].append(row)
    files = {collection: _write_rows(run, plan.table_of(collection), name, listed) for collection, listed in rows.items()}
    done = _receipt(plan, name, rows, rejects, files, _write_rejects(run, name, rejects))
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
def _compiled(run: Path) -> tuple[Plan, dict[str, Callable[[bytes], Row]]]:
    plan = read_plan(run)
    return plan, {table.collection: compile_encoder(table, plan.database) for table in plan.tables}


def _encoder(encoders: dict[str, Callable[[bytes], Row]], collection: str, path: str) -> Callable[[bytes], Row]:
    if reason := why_no_table(collection):
        raise Rejected(reason=reason, path=path)
    return encoders[collection]


def _write_rows(run: Path, table: TablePlan, name: str, rows: list[Row]) -> str:
    schema = arrow_schema(table)
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)]
    path = table_path(run, table, name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return write_parquet(with_column_stats(pa.table(columns, schema=schema), table), path)


def _reject(collection: str, path: str, document: bytes, rejected: Rejected) -> dict[str, Any]:
    fields = Document.FromString(document).fields
    readable = {name: tagged(fields[name]) for name in fields}
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
    plan: Plan, name: str, rows: dict[str, list[Row]], rejects: list[dict[str, Any]], files: dict[str, str], rejects_sha256: str | None
) -> ChunkTransformed:
    tables = {collection: _counted(plan.table_of(collection), listed) for collection, listed in rows.items()}
    for reject in rejects:
        tables[reject["collection"]] = tables.get(reject["collection"], TableCounts()) + TableCounts(rejected=1)
    reasons = tallied([{reject["reason"]: 1} for reject in rejects])
    documents = sum(map(len, rows.values())) + len(rejects)
    return ChunkTransformed(chunk=name, documents=documents, tables=tables, reasons=reasons, files=files, rejects=rejects_sha256)


def _counted(table: TablePlan, rows: list[Row]) -> TableCounts:
    residues = [row[-1] for row in rows if row[-1] is not None]
    return TableCounts(rows=len(rows), residue=len(residues), causes=residue_causes(table, residues))
