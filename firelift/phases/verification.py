"""Verification: what the tables of a schema say, beside what the archive and Firestore say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from firelift.errors import FireliftError
from firelift.files import storage_errors
from firelift.firestore.channel import Source
from firelift.phases.transformation import ArchiveIncomplete
from firelift.planning.model import Plan, TablePlan
from firelift.postgres.inspect.reading import reading
from firelift.postgres.inspect.rows import count_rows
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.session.errors import translated
from firelift.receipts import ChunkTransformed, Difference, RelationChecked, TableCompared, TableCounts
from firelift.storage.archive import StoredFile, file_name, ranges
from firelift.storage.transformed import read_receipt
from firelift.verification.columns import prove_columns
from firelift.verification.compare import ChunkCompared, CompareInputs, TableTally, compare_chunk
from firelift.verification.difference_file import DifferenceFile, join_files, write_differences
from firelift.verification.missing_rows import Key, compare_keys, keys_at
from firelift.verification.nested import prove_nested
from firelift.verification.performance import measure, too_slow
from firelift.verification.proof import SAMPLE, Against, ColumnProved, DigestUnit, Level, Limits, LiveRows, Proof, Reread
from firelift.verification.random_sample import Chosen, draw
from firelift.verification.relations import prove_relations
from firelift.verification.reread import reread_tables
from firelift.workers import Workers

DIFFERENCES = "differences.csv"
TEXTUAL = ("text", "character varying", "character", "name", "citext")
Progress = Callable[[int], None]
"""Hears of documents that were compared since it last heard."""


class VerificationFailed(FireliftError):
    """The tables do not say what Firestore says."""

    exit_code = 4
    remedy = "The target is as it was before. verification-results/differences.csv lists every difference."


class TargetDiffers(FireliftError):
    """The published tables do not say what Firestore said."""

    exit_code = 4
    remedy = "Nothing was changed. Somebody may have edited the rows since; the results list every difference. A new run puts them right."


class TooManyRejects(FireliftError):
    """More documents were rejected than --max-rejects allows."""

    exit_code = 4
    remedy = "The target is as it was before. See rejects/ in the run's directory for each document and reason, or raise --max-rejects."


@dataclass(frozen=True)
class Tables:
    """Where the rows stand, and what they should be."""

    url: str
    session: str
    """The name that connections go by, so that a stop finds what they are doing."""
    schema: str
    plan: Plan
    run: Path
    """The run's directory, with plan.json, archive/, transformed/ and rejects/."""


class StoredChunk(NamedTuple):
    """An archive chunk, and what became of its documents, by collection."""

    name: str
    archived: StoredFile
    tables: Mapping[str, TableCounts]


class Compared(NamedTuple):
    """What the comparison of all tables came to."""

    tables: tuple[TableCompared, ...]
    pieces: tuple[DigestUnit, ...]
    differences: tuple[DifferenceFile, ...]
    """The differences, part by part."""
    readable: Tables
    """The tables without those that lack a column, or are gone."""


def prove(
    workers: Workers,
    tables: Tables,
    roots: Sequence[str],
    level: Level,
    seed: str,
    *,
    against: Against = "archive",
    source: Source | None = None,
    read_time: str,
    relations: Sequence[RelationChecked] | None = None,
    merged: tuple[LiveRows, ...] | None = None,
    departed_chunks: tuple[str, ...] = (),
    limits: Limits,
    earlier: Path | None = None,
    results: Path,
    progress: Progress = lambda _: None,
    warnings: Sequence[str] = (),
    completeness: str = "",
) -> Proof:
    """Finds out everything that the level asks for about the tables; judges nothing.

    `completeness` says how it was shown that the archive lacks no document.
    `relations` are those that import recorded, `earlier` is an older verification.json, `warnings` are the caller's, to stand with those
    found here. With `merged` the tables are those of an increment: every row is compared at any level, while relations and response
    times are not looked at, as most of what the rows refer to lies outside of them. With `source`, the comprehensive level reads some
    documents again from Firestore, but none of archive chunks whose names begin like `departed_chunks`. Every difference is in
    differences.csv in `results`, which is there also when there is none.
    Raises ArchiveIncomplete.
    """
    where = (tables.url, tables.session, tables.schema)
    chunks = stored_chunks(tables.run, roots)
    with parts_of(results) as parts:
        compared = compare_tables(workers, tables, chunks, level if merged is None else "comprehensive", seed, parts, progress)
        tables = compared.readable
        present = [chunk for chunk in chunks if not chunk.name.startswith(departed_chunks)] if departed_chunks else chunks
        rereads, read_again = (
            _reread(tables, present, seed, source, read_time, parts) if level == "comprehensive" and source else ((), DifferenceFile())
        )
        differences = join_files([*compared.differences, read_again], results / DIFFERENCES)
    asked = level != "basic"
    columns = prove_columns(*where, tables.plan, tables.run) if asked else ()
    performance = measure(*where, tables.plan, level, limits, seed, earlier) if merged is None else ()
    unread = (f"{reread.table} could not be read from Firestore again: {reread.unavailable}" for reread in rereads if reread.unavailable)
    return Proof(
        level=level,
        against=against,
        schema_name=tables.schema,
        read_time=read_time,
        completeness=completeness,
        seed=seed,
        tables=compared.tables,
        merged=merged or (),
        pieces=compared.pieces,
        relations=prove_relations(*where, tables.plan, relations) if asked and merged is None else (),
        columns=columns,
        nested=prove_nested(*where, tables.plan) if level == "comprehensive" else (),
        rereads=rereads,
        performance=performance,
        differences_total=differences.total,
        differences=differences.first,
        warnings=(*warnings, *unread, *(_unknown(tables.plan, columns) if asked else ()), *too_slow(performance)),
    )


def _unknown(plan: Plan, columns: Sequence[ColumnProved]) -> Iterator[str]:
    """The tables of which nobody wrote down what was loaded, as earlier versions of Firelift did not."""
    known = {column.table for column in columns}
    for table in plan.tables:
        if table.table not in known:
            yield f"{table.table}: what its columns held when they were loaded is not known, so that was not compared."


def compare_tables(
    workers: Workers,
    tables: Tables,
    chunks: Sequence[StoredChunk],
    level: Level,
    seed: str,
    parts: Path,
    progress: Progress = lambda _: None,
) -> Compared:
    """Rows decoded back into documents and compared with the archive's: a sample of each table, or all where the level is comprehensive.

    The differences are in files in `parts`. Raises ArchiveIncomplete.
    """
    wanted = None if level == "comprehensive" else SAMPLE[level]
    inputs = CompareInputs(tables.url, tables.session, tables.schema, tables.run, parts, whole=wanted is None)
    lacking = _lacking(tables)
    readable = replace(tables, plan=tables.plan.model_copy(update={"tables": _without(tables.plan, lacking)}))
    chosen = {table.collection: _drawn(table, chunks, wanted, seed) for table in readable.plan.tables}
    done = list(_compared(workers, inputs, chunks, chosen, progress))
    rows = _rows(readable)
    results_of_tables = [_table_result(workers, inputs, chunks, done, table, wanted, rows[table.table]) for table in readable.plan.tables]
    missing = [_missing_table(chunks, table) for table in tables.plan.tables if table.table in lacking]
    return Compared(
        tables=(*(result.table for result in results_of_tables), *missing),
        pieces=tuple(piece for part in done for piece in part.pieces),
        differences=(
            write_differences((differs for found in lacking.values() for differs in found), parts / "tables.csv"),
            *(result.differences for result in results_of_tables),
            *(part.differences for part in done),
        ),
        readable=readable,
    )


def _lacking(tables: Tables) -> dict[str, list[Difference]]:
    """The tables that cannot be read by the plan: gone, or without a column. Only in a target that somebody else may change."""
    with reading(tables.url, tables.session) as connection, translated("looking at the tables"):
        standing = existing_tables(connection, tables.schema, [table.table for table in tables.plan.tables])
    lacking: dict[str, list[Difference]] = {}
    for table in tables.plan.tables:
        there = standing.get(table.table)
        if there is None:
            lacking[table.table] = [Difference(table=table.table, key="*", what="missing table", expected="a table", found="no table")]
        elif missing := [column for column in table.target_columns() if column[0] not in there.columns]:
            lacking[table.table] = [
                Difference(
                    table=table.table, key="*", field=name, what="missing column", expected=f"a column of {pg_type}", found="no column"
                )
                for name, pg_type in missing
            ]
        elif other := [name for name in table.keys if there.columns[name].type not in TEXTUAL]:
            # By such a key no row can be asked for.
            lacking[table.table] = [
                Difference(table=table.table, key="*", field=name, what="column type", expected="text", found=there.columns[name].type)
                for name in other
            ]
    return lacking


def _without(plan: Plan, names: Collection[str]) -> tuple[TablePlan, ...]:
    return tuple(table for table in plan.tables if table.table not in names)


def _missing_table(chunks: Sequence[StoredChunk], table: TablePlan) -> TableCompared:
    counts = _counts(chunks, table)
    return TableCompared(
        collection=table.collection,
        table=table.table,
        documents=counts.rows + counts.rejected,
        rejected=counts.rejected,
        rows=0,
        compared=0,
        differing=counts.rows,
        whole=False,
    )


def _counts(chunks: Sequence[StoredChunk], table: TablePlan) -> TableCounts:
    return sum((chunk.tables[table.collection] for chunk in chunks if table.collection in chunk.tables), TableCounts())


def _reread(
    tables: Tables, chunks: Sequence[StoredChunk], seed: str, source: Source, read_time: str, parts: Path
) -> tuple[tuple[Reread, ...], DifferenceFile]:
    """Some documents of every table once more from Firestore."""
    chosen = [(table, _keys(tables.run, chunks, table, seed)) for table in tables.plan.tables]
    where = (source, read_time, tables.url, tables.session, tables.schema, tables.plan.database)
    done = list(reread_tables(*where, chosen))
    return tuple(reread for reread, _ in done), write_differences(
        (_read_again(differs) for _, found in done for differs in found), parts / "reread.csv"
    )


def _read_again(differs: Difference) -> Difference:
    """Told apart from what the archive says of the same document."""
    return differs.model_copy(update={"what": f"{differs.what} (read again)"})


def _keys(run: Path, chunks: Sequence[StoredChunk], table: TablePlan, seed: str) -> list[Key]:
    drawn = _drawn(table, chunks, SAMPLE["comprehensive"], f"{seed}:reread")
    return [
        key
        for number, places in drawn.items()
        for key in keys_at(run, table.collection, chunks[number].name, chunks[number].archived, places)
    ]


def stored_chunks(run: Path, roots: Sequence[str]) -> list[StoredChunk]:
    """Every archive chunk with documents, in key order, as its receipt of the transformation tells of it; raises ArchiveIncomplete."""
    return [
        StoredChunk(chunk.name, part.file(chunk), _receipt(run, root, chunk.name).tables)
        for root in roots
        for part in ranges(run / "archive" / file_name(root))
        for chunk in part.chunks()
        if chunk.documents
    ]


def _receipt(run: Path, root: str, chunk: str) -> ChunkTransformed:
    try:
        return read_receipt(run, chunk)
    except (OSError, ValueError) as error:
        raise ArchiveIncomplete(collection=root, chunk=chunk, missing="its receipt of the transformation") from error


@contextmanager
def parts_of(results: Path) -> Iterator[Path]:
    """A directory for the lists of differences until they are put together; what another attempt left there is gone."""
    parts = results / ".differences"
    shutil.rmtree(parts, ignore_errors=True)
    with storage_errors(parts):
        parts.mkdir(mode=0o700, parents=True)
    try:
        yield parts
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def _drawn(table: TablePlan, chunks: Sequence[StoredChunk], wanted: int | None, seed: str) -> Chosen:
    stored = [chunk.tables[table.collection].rows if table.collection in chunk.tables else 0 for chunk in chunks]
    return draw(table.collection, stored, wanted, seed)


def _compared(
    workers: Workers, inputs: CompareInputs, chunks: Sequence[StoredChunk], chosen: Mapping[str, Chosen], progress: Progress
) -> Iterator[ChunkCompared]:
    """Every chunk of which a document is chosen, in the order of the chunks."""
    calls = []
    for number, chunk in enumerate(chunks):
        here = {collection: drawn[number] for collection, drawn in chosen.items() if number in drawn}
        if here:
            calls.append((inputs, chunk.name, chunk.archived, here))
    order = {name: number for number, (_, name, _, _) in enumerate(calls)}
    yield from sorted(workers.each(compare_chunk, calls, report=progress), key=lambda done: order[done.chunk])


def _rows(tables: Tables) -> dict[str, int]:
    with reading(tables.url, tables.session) as connection:
        return {table.table: count_rows(connection, tables.schema, table) for table in tables.plan.tables}


class _TableResult(NamedTuple):
    table: TableCompared
    differences: DifferenceFile


def _table_result(
    workers: Workers,
    inputs: CompareInputs,
    chunks: Sequence[StoredChunk],
    done: Sequence[ChunkCompared],
    table: TablePlan,
    wanted: int | None,
    rows: int,
) -> _TableResult:
    """A table's figures; where they do not add up its keys are looked through, one by one."""
    mine = [chunk for chunk in chunks if table.collection in chunk.tables]
    counts = _counts(mine, table)
    tally = sum((part.tables[table.collection] for part in done if table.collection in part.tables), TableTally())
    drawn = counts.rows if wanted is None else min(wanted, counts.rows)
    if tally.compared != drawn:
        raise ArchiveIncomplete(collection=table.collection, transformed=drawn, archived=tally.compared)
    differences = DifferenceFile()
    if rows != counts.rows or tally.missing:
        archived = [(chunk.name, chunk.archived) for chunk in mine]
        known_missing = frozenset(
            piece.key for part in done for piece in part.pieces if piece.table == table.table and piece.presence == "source"
        )
        differences = workers.call(compare_keys, inputs, table.collection, archived, rows, counts.rows, known_missing)
    return _TableResult(
        TableCompared(
            collection=table.collection,
            table=table.table,
            documents=counts.rows + counts.rejected,
            rejected=counts.rejected,
            rows=rows,
            compared=tally.compared,
            differing=tally.differing + differences.total - (rows != counts.rows),
            whole=tally.compared == counts.rows,
        ),
        differences,
    )
