"""Extraction of an increment: archives what has changed in Firestore since the tables were published."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from firelift.files import storage_errors
from firelift.firestore.channel import open_firestore
from firelift.firestore.query import KeyRange
from firelift.firestore.read_keys import read_keys
from firelift.modes.incremental.changed_documents import compare_changed_since
from firelift.modes.incremental.fetch import batches_of, fetch_documents, fetched_in_order
from firelift.modes.incremental.merge_keys import KeyMergeJoin
from firelift.modes.incremental.worker import DIFFERS, CompareJob, DeletedKeys, Once, PublishedTables, RangeResult, archiving
from firelift.paths import Key
from firelift.planning.model import TablePlan
from firelift.postgres.inspect.published_keys import Between, PublishedKeys, published_keys
from firelift.receipts import Extracted, RootCollection, TableChanges
from firelift.storage.archive import write_digest
from firelift.storage.chunk_writer import Progress
from firelift.storage.deleted_keys import deleted_keys_directory
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.storage.key_ranges import counted_in_parts, cut
from firelift.verification.completeness import Digest, Scan, Seen, prove_count, prove_digests, sum_ranges
from firelift.workers import Workers

KEYS_A_REPORT: Final = 5000


def extract_difference(
    workers: Workers,
    inputs: ExtractionInputs,
    run: Path,
    published: PublishedTables,
    progress: Progress,
    differs: Callable[[], object] = lambda: None,
) -> Extracted:
    """Archives the new and changed documents of root collections with everything beneath them, and keeps the keys of deleted ones.

    All keys at the read time are compared with those of the tables. With `published.since` only documents are read that have changed
    according to a field; where those cannot be all, all keys are compared after all, and `scan_reason` says why. Removes what an earlier
    attempt has left. `progress` gets the numbers of documents compared and of bytes archived. `differs` is called, once or more, as soon
    as anything differs.
    """

    def on_report(report: Any) -> None:
        differs() if report == DIFFERS else progress(*report)

    def on_scan_report(report: Any) -> None:
        # Whether its result is used is only known at its end.
        if report == DIFFERS:
            differs()

    job, root = CompareJob(inputs, run, published), inputs.root
    since_result, there, why = RangeResult(), dict[str, int](), ""
    if published.since is not None and root.documents is None:
        why = f"Firestore does not count its documents, and only their number shows whether {published.since.field} has found all"
    elif published.since is not None:
        _begin_anew(job)
        since_result, there, why = workers.call(compare_changed_since, job, report=on_scan_report)
        if not why:
            for name, documents in there.items():
                progress(name, documents, since_result.shares.get(name, {}).get("bytes", 0))
            return _extracted(root, [since_result], write_digest(job.inputs.directory))
    _begin_anew(job)
    ranges = workers.call(cut_at_documents, inputs, workers.number)
    root = counted_in_parts(root, [expected for _, _, expected in ranges])
    job = replace(job, inputs=replace(inputs, root=root))
    calls = [(job, number, keys, between, expected) for number, (keys, between, expected) in enumerate(ranges)]
    done = list(workers.each(compare_range, calls, report=on_report))
    scans: list[Scan] = []
    if root.documents is None:
        scans = prove_digests(workers, inputs.source, [part.seen for part in done if part.seen], inputs.read_time)
    else:
        prove_count(root, sum(part.keys + part.skipped for part in done), inputs.read_time)
    extracted = _extracted(root, done, write_digest(job.inputs.directory), scans)
    return extracted.model_copy(update={"scan_reason": why, "reads": extracted.reads + since_result.reads})


def _extracted(root: RootCollection, parts: Sequence[RangeResult], digest: str, scans: Sequence[Scan] = ()) -> Extracted:
    changes = _summed(change for part in parts for change in part.changes)
    return sum_ranges(root, parts, scans, digest).model_copy(update={"changes": changes})


def _summed(changes: Iterable[TableChanges]) -> tuple[TableChanges, ...]:
    total: dict[str, TableChanges] = {}
    for change in changes:
        known = total.get(change.collection)
        counts = ("documents", "new", "changed", "deleted")
        total[change.collection] = known.model_copy(update={n: getattr(known, n) + getattr(change, n) for n in counts}) if known else change
    return tuple(total[collection] for collection in sorted(total))


def _begin_anew(job: CompareJob) -> None:
    deleted = [deleted_keys_directory(job.run, table.collection) for table in job.published.tables]
    # What was made of the chunks goes with them: others will have their names.
    for directory in (job.inputs.directory, *deleted, job.run / "transformed" / job.inputs.directory.name):
        with storage_errors(directory):
            if directory.exists():
                shutil.rmtree(directory)
    with storage_errors(job.inputs.directory):
        job.inputs.directory.mkdir(mode=0o700, parents=True)


def cut_at_documents(inputs: ExtractionInputs, most: int, report: Callable[[Any], None]) -> list[tuple[KeyRange, Between, int | None]]:
    """The key ranges of a root with their counts, cut at documents of the root collection only: there the tables can be cut as well."""
    root, ranges = inputs.root, list[tuple[KeyRange, int | None]]()
    for keys, documents in cut(inputs, most, report):
        if ranges and _border(root, keys.start) is None:
            before, counted = ranges.pop()
            documents = None if counted is None or documents is None else counted + documents
            keys = KeyRange(before.start, keys.end)
        ranges.append((keys, documents))
    lows = [None, *(_border(root, keys.start) for keys, _ in ranges[1:])]
    return [(keys, Between(low, high), documents) for (keys, documents), low, high in zip(ranges, lows, [*lows[1:], None], strict=True)]


def _border(root: RootCollection, path: str | None) -> str | None:
    """The id of the root collection's document that a range begins at; None where it begins elsewhere."""
    collection, _, document_id = (path or "").partition("/")
    cuts_tables = collection == root.collection and document_id and "/" not in document_id and "\0" not in document_id
    return document_id if cuts_tables else None


def compare_range(
    job: CompareJob, number: int, keys: KeyRange, between: Between, expected: int | None, report: Callable[[Any], None]
) -> RangeResult:
    """Merges the keys of one range with the tables' and archives what differs, while they are read."""
    tables = {table.collection: table for table in job.published.tables}
    published, breaks = job.published, list[str]()
    deleted = DeletedKeys(job, number)
    digest = Digest() if job.inputs.root.documents is None else None
    found = Once(partial(report, DIFFERS))
    with (
        closing(open_firestore(job.inputs.source)) as firestore,
        archiving(job, number, report) as archive,
        published_keys(published.session, published.schema, len(tables), between) as rows_of,
    ):

        def delete(collection: str, key: Key) -> None:
            found()
            deleted.add(collection, key)

        merge = KeyMergeJoin(tables, partial(_keys_of, tables, rows_of), job.inputs.selection.takes, delete)
        read = read_keys(firestore, keys, job.inputs.read_time, expected, breaks.append)
        stream = _reported(digest.of(read) if digest else read, report)
        fetch = partial(fetch_documents, firestore, job.inputs.read_time, breaks.append)
        for documents in fetched_in_order(fetch, batches_of(found.at_first(merge.differing(stream)))):
            archive.add(documents)
    deleted.write()
    changes = merge.changes()
    part = archive.part(tuple(changes.values()), merge.skipped, breaks)
    seen = Seen(keys, digest.keys, digest.hexdigest()) if digest else None
    return replace(part, reads=part.keys + part.skipped + part.documents, seen=seen)


def _keys_of(tables: dict[str, TablePlan], rows_of: Callable[[TablePlan], PublishedKeys], collection: str) -> PublishedKeys:
    return rows_of(tables[collection]) if collection in tables else PublishedKeys(iter(()))


def _reported(keys: Iterator[tuple[str, int]], report: Callable[[Any], None]) -> Iterator[tuple[str, int]]:
    for root, those in groupby(keys, key=lambda key: key[0].partition("/")[0]):
        number = 0
        for number, key in enumerate(those, 1):
            if number % KEYS_A_REPORT == 0:
                report((root, KEYS_A_REPORT, 0))
            yield key
        report((root, number % KEYS_A_REPORT, 0))
