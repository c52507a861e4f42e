"""Verification: the staged tables against the archive, by count and by decoding rows back into documents."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from firelift.archive import file_name, ranges, read_chunk
from firelift.errors import FireliftError
from firelift.firestore.values import Document, same_document
from firelift.paths import collection_of, ids_of
from firelift.plan import Plan, TablePlan
from firelift.postgres.connect import Connection, connect
from firelift.postgres.control import record_progress
from firelift.postgres.ddl import staging_schema
from firelift.postgres.lock import signature
from firelift.postgres.read import count_rows, read_rows
from firelift.receipts import Difference, TableCounts, Verified
from firelift.transform import compile_decoder

SAMPLE = 10
Key = tuple[str, ...]


class VerificationFailed(FireliftError):
    """The tables do not say what Firestore says."""

    exit_code = 4
    remedy = "The target is as it was before. verification-results/differences.json lists every difference."


class TooManyRejects(FireliftError):
    """More documents were rejected than --max-rejects allows."""

    exit_code = 4
    remedy = "The target is as it was before. See rejects/ in the run's directory for each document and reason, or raise --max-rejects."


def verify(url: str, migration_id: str, run: Path, roots: Sequence[str], plan: Plan, counts: Mapping[str, TableCounts]) -> Verified:
    """Counts every table and compares some documents of each, bit by bit."""
    differences: list[Difference] = []
    compared = 0
    samples = sample_documents(run, roots, {table.collection for table in plan.tables}, seed=migration_id)
    with closing(connect(url, signature(migration_id))) as connection:
        record_progress(connection, migration_id, phase="verification")
        for table in plan.tables:
            differences.extend(_miscounted(connection, migration_id, table, counts.get(table.collection, TableCounts())))
            documents = samples.get(table.collection, {})
            compared += len(documents)
            differences.extend(_different(connection, staging_schema(migration_id), table, plan.database, documents))
    return Verified(
        level="basic",
        against="archive",
        seed=migration_id,
        passed=not differences,
        tables=(),
        compared=compared,
        reread=0,
        expectations=0,
        differences_total=len(differences),
        differences=tuple(differences),
    )


def _miscounted(connection: Connection, migration_id: str, table: TablePlan, counts: TableCounts) -> Iterator[Difference]:
    found = count_rows(connection, staging_schema(migration_id), table)
    if found != counts.rows:
        yield Difference(table=table.table, key="*", what="number of rows", expected=str(counts.rows), found=str(found))


def _different(
    connection: Connection, schema: str, table: TablePlan, database: str, documents: Mapping[Key, bytes]
) -> Iterator[Difference]:
    decode = compile_decoder(table, database)
    missing = dict(documents)
    for row in read_rows(connection, schema, table, list(documents)):
        key = tuple(row[: len(table.keys)])
        original = Document.FromString(missing.pop(key))
        if not same_document(decode(row), original):
            yield Difference(table=table.table, key="/".join(key), what="document", expected=_short(original), found=_short(decode(row)))
    for key in missing:
        yield Difference(table=table.table, key="/".join(key), what="row", expected="present", found="missing")


def sample_documents(run: Path, roots: Sequence[str], collections: set[str], seed: str) -> dict[str, dict[Key, bytes]]:
    """Up to SAMPLE documents a collection, by key, from chunks drawn at random (seeded) over the whole archive."""
    found: dict[str, dict[Key, bytes]] = {collection: {} for collection in collections}
    draw = random.Random(seed)
    for root in roots:
        files = [part.path(chunk) for part in ranges(run / "archive" / file_name(root)) for chunk in part.chunks() if chunk.documents]
        for file in draw.sample(files, min(len(files), SAMPLE)):
            _draw(file, found, draw, each=max(1, -(-SAMPLE // len(files))))
    return found


def _draw(file: Path, found: dict[str, dict[Key, bytes]], draw: random.Random, each: int) -> None:
    by_collection: dict[str, list[tuple[str, bytes]]] = {}
    for path, document in read_chunk(file):
        by_collection.setdefault(collection_of(path), []).append((path, document))
    for collection, documents in by_collection.items():
        if collection not in found:  # it has no table, its documents are rejected
            continue
        for path, document in draw.sample(documents, min(each, len(documents))):
            if len(found[collection]) < SAMPLE and _storable(path):
                found[collection][tuple(ids_of(path))] = document


def _storable(path: str) -> bool:
    """Whether a row may have this key: rejected documents have none to compare with."""
    return "\0" not in path and 8 + sum(4 + -(-len(part.encode()) // 4) * 4 for part in ids_of(path)) <= 2704


def _short(document: Document) -> str:
    return str(document)[:500]
