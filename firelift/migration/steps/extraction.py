"""The steps of the phase extraction."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from firelift.firestore.errors import NothingMatches
from firelift.formatting import counted
from firelift.migration.context import Migration
from firelift.migration.steps.preload import preload_verification
from firelift.migration.steps.receipt_validity import with_receipt
from firelift.modes.incremental.baseline import skipped
from firelift.modes.incremental.compare import extract_difference
from firelift.modes.incremental.worker import PublishedTables
from firelift.modes.test.draw_sample import SampleInputs
from firelift.modes.test.estimate import warnings_of
from firelift.modes.test.sample import sample_database
from firelift.phases.extraction import extract_collection, read_profile
from firelift.postgres.session.lock import session_of
from firelift.receipts import Completeness, Extracted, PhaseReceipt, RootCollection, Sampled, Validated
from firelift.run.status import Status
from firelift.storage.chunk_writer import Progress
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.verification.random_sample import new_seed


@with_receipt("extraction", Extracted)
def extract(migration: Migration, root: RootCollection, read_time: str) -> Extracted:
    """Root collections, with everything beneath them, into the archive."""
    status = migration.start_phase("extraction")
    expected = root.expected()
    for name in root.collections:
        status.restart_collection("extraction", name)
        status.expect("extraction", name, documents=expected.get(name))
        if root.documents is None:
            status.expect_unknown("extraction", name)
    status.expect_of_all("extraction", root.label, 0 if expected else root.documents or 0)
    with migration.surroundings.progress("extraction", root.label, root.documents) as advance:

        def progress(name: str, documents: int, size: int) -> None:
            status.advance("extraction", name, documents=documents, bytes=size)
            advance(documents)

        extracted = _extract(migration, root, read_time, progress)
    if root.documents is None and not root.beside:
        status.expect("extraction", root.collection, documents=extracted.shown_to_be_all)
    elif not expected:
        set_expected(status, extracted)
    return extracted


def set_expected(status: Status, extracted: Extracted) -> None:
    """Of collections that were counted together only, what each has is known once all are read."""
    for name, counts in extracted.counts().items():
        status.expect("extraction", name, documents=counts["documents"])
    status.expect_of_all("extraction", extracted.label, 0)


def _extract(migration: Migration, root: RootCollection, read_time: str, progress: Progress) -> Extracted:
    """Everything; of an increment only what differs from the tables that stand for it."""
    settings = migration.settings
    inputs = ExtractionInputs(
        migration.source,
        root,
        migration.workspace.archive,
        read_time,
        migration.selection,
        settings.batch_size,
        settings.range_documents,
        catch_up=settings.on_expired_snapshot == "catch-up" and settings.migration_mode == "full",
    )
    if migration.is_increment:
        baseline = migration.baseline()
        selection = baseline.selection(migration.selection, settings.schema_changes)
        if not any(map(selection.may_take_below, root.collections)):
            return skipped(root)
        if tables := baseline.below(root.collections, selection):
            since = baseline.since(tables, settings.changed_since_field, settings.full_scan_every)
            session = session_of(migration.database_url, migration.migration_id)
            published = PublishedTables(session, settings.target_schema, tuple(table.plan for table in tables), since)
            return extract_difference(
                migration.workers,
                replace(inputs, selection=selection),
                migration.directory,
                published,
                progress,
                partial(preload_verification, migration),
            )
        preload_verification(migration)
    return extract_collection(migration.workers, inputs, progress)


@with_receipt("extraction", Sampled)
def sampling(migration: Migration, validated: Validated) -> Sampled:
    """In place of everything a sample of every collection, with what it needs."""
    status, settings = migration.start_phase("extraction"), migration.settings
    if migration.receipts.file("sampling").exists():
        # Whatever else is done again: what has been made of this sample is of no other one.
        return migration.receipts.last("sampling", Sampled)
    inputs = SampleInputs(
        migration.source,
        validated.read_time,
        migration.selection,
        size=settings.sample_size,
        seed=new_seed(),
        batch_size=settings.batch_size,
    )
    sampled = sample_database(migration.workers, inputs, validated.roots, migration.directory)
    for each in sampled.collections:
        for warning in warnings_of(each):
            status.warn(warning, "extraction")
    status.add_statistics(documentsCounted=sampled.counted)
    return sampled


@with_receipt("extraction", PhaseReceipt)
def extraction(migration: Migration, extracted: list[Extracted]) -> PhaseReceipt:
    """Everything is archived: the sum, and a word on every stream that broke."""
    status = migration.start_phase("extraction")
    for part in extracted:
        for name, counts in part.counts().items():
            status.set_counts("extraction", name, **counts)
        if migration.is_increment or part.beside:
            # All keys were compared; what was read of that is not the rest of something that is still to come.
            set_expected(status, part)
        for broken in part.breaks:
            status.warn(f"{part.label}: the stream was resumed after a break: {broken}", "extraction")
        for file in part.mended:
            status.warn(f"{file} was not as it had been written: its documents were read from Firestore again", "extraction")
        if part.scan_reason:
            status.warn(f"{part.label}: all keys were compared, because {part.scan_reason}", "extraction")
    _tell_expired(migration, extracted)
    _refuse_idle_patterns(migration, extracted)
    collections = sum(len(part.collections) for part in extracted)
    done = PhaseReceipt(totalRecords=sum(part.documents for part in extracted), collections=collections)
    status.add_statistics(reads=sum(part.reads for part in extracted), documentsPassedOver=sum(part.skipped for part in extracted))
    if not migration.is_test:
        complete = Completeness.of(extracted)
        status.add_statistics(completeness=complete.model_dump() | {"said": complete.in_words})
    if migration.is_increment:
        status.add_statistics(keysCompared=sum(change.documents for part in extracted for change in part.changes if change.scanned))
        if migration.settings.schema_changes == "freeze" and (skipped := sum(part.skipped for part in extracted)):
            told = "documents of collections without a table, or not chosen, were left out"
            status.warn(f"{told}: {skipped} (--schema-changes freeze)", "extraction")
    migration.finish_phase("extraction", done)
    return done


def _tell_expired(migration: Migration, extracted: list[Extracted]) -> None:
    """That documents are of several moments, in the status and for the reports, which then say how the gap is closed."""
    if later := sorted({moment for part in extracted for moment in part.later}):
        migration.status.add_statistics(readLater=later)
        where = counted(sum(bool(part.later) for part in extracted), "root collection")
        migration.status.warn(
            f"Firestore gave up the snapshot before everything was read: documents of {where} are as of later moments, up to {later[-1]}, "
            "and nothing shows that none is missing. An incremental run brings all of them to one moment.",
            "extraction",
        )


def _refuse_idle_patterns(migration: Migration, extracted: list[Extracted]) -> None:
    found = {
        *read_profile(migration.workspace.archive, [part.collection for part in extracted]),
        *(change.collection for part in extracted for change in part.changes),
    }
    idle = [pattern for pattern in migration.selection.idle(found) if pattern in migration.selection.include]
    if idle and (found or any(part.skipped for part in extracted)):
        if not migration.is_test:
            raise NothingMatches(patterns=", ".join(idle))
        migration.status.warn(f"Nothing in the sample matches {', '.join(idle)}, which need not mean that nothing does.", "extraction")
