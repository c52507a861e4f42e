"""Verification: compares the tables of a schema with the archive and with Firestore."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from firelift.errors import FireliftError
from firelift.files import storage_errors
from firelift.phases.transformation import ArchiveIncomplete
from firelift.planning.model import Plan, TablePlan
from firelift.postgres.inspect.rows import count_rows
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.errors import translated
from firelift.receipts import ChunkTransformed, Difference, TableCompared, TableCounts
from firelift.storage.archive import file_name, ranges
from firelift.storage.transformed import read_receipt
from firelift.verification.check import Found, Inputs
from firelift.verification.checks import CHECKS
from firelift.verification.compare import ChunkCompared, CompareInputs, TableTally, compare_chunk
from firelift.verification.difference_file import DifferenceFile, join_files, write_differences
from firelift.verification.inputs import StoredChunk, Tables, Verification
from firelift.verification.missing_rows import compare_keys
from firelift.verification.proof import DigestUnit, Proof
from firelift.verification.random_sample import Chosen, draw_documents
from firelift.workers import Workers

DIFFERENCES = "differences.csv"
TEXTUAL = ("text", "character varying", "character", "name", "citext")
Progress = Callable[[int], None]
"""Is called with the number of documents compared since its last call."""


class VerificationFailed(FireliftError):
    """The tables differ from Firestore."""

    exit_code = 4
    remedy = "The target is as it was before. verification-results/differences.csv lists every difference."


class TargetDiffers(FireliftError):
    """The published tables differ from Firestore."""

    exit_code = 4
    remedy = "Nothing was changed. Somebody may have edited the rows since; the results list every difference. A new run puts them right."


class TooManyRejects(FireliftError):
    """More documents were rejected than --max-rejects allows."""

    exit_code = 4
    remedy = "The target is as it was before. See rejects/ in the run's directory for each document and reason, or raise --max-rejects."


class Compared(NamedTuple):
    """The result of comparing all tables."""

    tables: tuple[TableCompared, ...]
    pieces: tuple[DigestUnit, ...]
    differences: tuple[DifferenceFile, ...]
    """The files with differences."""
    readable: Tables
    """The tables without those that are missing or lack a column."""


def prove(workers: Workers, verification: Verification, progress: Progress = lambda _: None) -> Proof:
    """Finds out everything that the level asks about the tables; whether it suffices is for the expectations to say.

    Of an increment every row is compared at any level, but checks that need whole tables are not made. Every difference is in
    differences.csv in the directory for results; without a difference the file has a header only. Raises ArchiveIncomplete.
    """
    known, level = verification.known, verification.level
    chunks = stored_chunks(verification.tables.run, verification.roots)
    wanted = level.documents if known.merged is None else None
    with parts_of(verification.results) as parts:
        compared = compare_tables(workers, verification.tables, chunks, wanted, verification.seed, parts, progress)
        # No name begins with a member of an empty tuple.
        present = [chunk for chunk in chunks if not chunk.name.startswith(known.deleted_chunks)]
        found = _found(Inputs(verification, compared.readable, present, parts))
        differences = join_files(
            [*compared.differences, *(result.differences for result in found.values())], verification.results / DIFFERENCES
        )
    return Proof(
        level=level.name,
        against=verification.against,
        schema_name=verification.tables.schema,
        read_time=verification.read_time,
        completeness=known.completeness,
        seed=verification.seed,
        tables=compared.tables,
        merged=known.merged or (),
        pieces=compared.pieces,
        found={name: tuple(result.results) for name, result in found.items()},
        differences_total=differences.total,
        differences=differences.first,
        warnings=(*known.warnings, *(warning for result in found.values() for warning in result.warnings)),
    )


def _found(inputs: Inputs) -> dict[str, Found]:
    """What the checks of the level find out, by their names."""
    level, whole = inputs.verification.level, inputs.verification.known.merged is None
    return {
        check.name: check.find(inputs) for check in CHECKS if check.find and level.includes(check.level) and (whole or check.of_increments)
    }


def compare_tables(
    workers: Workers,
    tables: Tables,
    chunks: Sequence[StoredChunk],
    wanted: int | None,
    seed: str,
    parts: Path,
    progress: Progress = lambda _: None,
) -> Compared:
    """Decodes rows back into documents and compares them with the archive's: `wanted` documents of each table, or all (None).

    The differences are in files in `parts`. Raises ArchiveIncomplete.
    """
    inputs = CompareInputs(tables.session, tables.schema, tables.run, parts, whole=wanted is None)
    lacking = _lacking(tables)
    readable = replace(tables, plan=tables.plan.model_copy(update={"tables": _without(tables.plan, lacking)}))
    chosen = {table.collection: draw_documents(table.collection, chunks, wanted, seed) for table in readable.plan.tables}
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
    with tables.session.open_to_read() as connection, translated("looking at the tables"):
        existing = existing_tables(connection, tables.schema, [table.table for table in tables.plan.tables])
    lacking: dict[str, list[Difference]] = {}
    for table in tables.plan.tables:
        there = existing.get(table.table)
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


def _compared(
    workers: Workers, inputs: CompareInputs, chunks: Sequence[StoredChunk], chosen: Mapping[str, Chosen], progress: Progress
) -> Iterator[ChunkCompared]:
    """Every chunk with a chosen document, in the order of the chunks."""
    calls = []
    for number, chunk in enumerate(chunks):
        here = {collection: drawn[number] for collection, drawn in chosen.items() if number in drawn}
        if here:
            calls.append((inputs, chunk.name, chunk.archived, here))
    order = {name: number for number, (_, name, _, _) in enumerate(calls)}
    yield from sorted(workers.each(compare_chunk, calls, report=progress), key=lambda done: order[done.chunk])


def _rows(tables: Tables) -> dict[str, int]:
    with tables.session.open_to_read() as connection:
        return {table.table: count_rows(connection, TargetTable(tables.schema, table)) for table in tables.plan.tables}


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
