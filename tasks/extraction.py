"""The tasks of the phase extraction."""

from __future__ import annotations

from functools import partial

from prefect import task

from firelift.files import read_sealed
from firelift.firestore.errors import NothingMatches
from firelift.modes.incremental.baseline import left_out
from firelift.modes.incremental.compare import Standing, extract_difference
from firelift.modes.test.estimate import warnings_of
from firelift.modes.test.sample import Sampled, sample_database
from firelift.phases.extraction import extract_collection, read_profile
from firelift.postgres.session.lock import signature
from firelift.receipts import Completeness, Extracted, PhaseReceipt, RootFound, Validated
from firelift.run.receipt_files import receipt_file
from firelift.run.status import Status
from firelift.storage.chunk_writer import Progress
from firelift.verification.random_sample import new_seed
from tasks.checkpoint import INNER, PHASE
from tasks.progress import Pulse
from tasks.receipted import receipted
from tasks.warm import warm_up_verification
from tasks.world import Run, World, world


@task(**INNER, name="extract", task_run_name="extract {root.label}")
@receipted("extraction", Extracted)
def extract(run: Run, root: RootFound, read_time: str) -> Extracted:
    """Root collections, with everything beneath them, into the archive."""
    here = world(run)
    status = here.begin("extraction")
    expected = root.expected()
    for name in root.collections:
        status.restart_collection("extraction", name)
        status.expect("extraction", name, documents=expected.get(name))
        if root.documents is None:
            status.expect_unknown("extraction", name)
    status.expect_of_all("extraction", root.label, 0 if expected else root.documents or 0)
    with Pulse("extraction", root.label, root.documents) as pulse:

        def progress(name: str, documents: int, size: int) -> None:
            status.advance("extraction", name, documents=documents, bytes=size)
            pulse.advance(documents)

        extracted = _extracted(here, root, read_time, progress)
    if root.documents is None and not root.beside:
        status.expect("extraction", root.collection, documents=extracted.scanned)
    elif not expected:
        now_known(status, extracted)
    return extracted


def now_known(status: Status, extracted: Extracted) -> None:
    """Of collections that were counted together only, what each has is known once all are read."""
    for name, counts in extracted.counts().items():
        status.expect("extraction", name, documents=counts["documents"])
    status.expect_of_all("extraction", extracted.label, 0)


def _extracted(here: World, root: RootFound, read_time: str, progress: Progress) -> Extracted:
    """Everything; of an increment only what differs from the tables that stand for it."""
    settings = here.settings
    how = (settings.batch_size, settings.range_documents, progress)
    if here.is_increment:
        base = here.base()
        selection = base.selection(here.selection, settings.schema_changes)
        if not any(map(selection.may_take_below, root.collections)):
            return left_out(root)
        if tables := base.below(root.collections, selection):
            since = base.since(tables, settings.changed_since_field, settings.full_scan_every)
            session = signature(here.run.migration_id)
            standing = Standing(here.database_url, session, settings.target_schema, tuple(table.plan for table in tables), since)
            where = (here.workers, here.source, root, here.directory)
            return extract_difference(*where, standing, read_time, selection, *how, differs=partial(warm_up_verification, here))
        warm_up_verification(here)
    return extract_collection(here.workers, here.source, root, here.workspace.archive, read_time, here.selection, *how)


@task(**PHASE, name="sampling", task_run_name="sampling")
@receipted("extraction", Sampled)
def sampling(run: Run, validated: Validated) -> Sampled:
    """In place of everything a sample of every collection, with what it needs."""
    here = world(run)
    status, settings = here.begin("extraction"), here.settings
    standing = receipt_file(here.workspace, "sampling")
    if standing.exists():
        # Prefect's own receipt is gone; what has been made of this sample is of no other one.
        return Sampled.model_validate_json(read_sealed(standing))
    moment, size = validated.read_time, settings.sample_size
    where = (validated.roots, here.directory, moment, here.selection)
    sampled = sample_database(here.workers, here.source, *where, size, new_seed(), settings.batch_size)
    for each in sampled.collections:
        for warning in warnings_of(each):
            status.warn(warning, "extraction")
    status.note(documentsCounted=sampled.counted)
    return sampled


@task(**PHASE, name="extraction", task_run_name="extraction")
@receipted("extraction", PhaseReceipt)
def extraction(run: Run, extracted: list[Extracted]) -> PhaseReceipt:
    """Everything is archived: the sum, and a word on every stream that broke."""
    here = world(run)
    status = here.begin("extraction")
    for part in extracted:
        for name, counts in part.counts().items():
            status.found("extraction", name, **counts)
        if here.is_increment or part.beside:
            # All keys were compared; what was read of that is not the rest of something that is still to come.
            now_known(status, part)
        for broken in part.breaks:
            status.warn(f"{part.label}: the stream was read on after a break: {broken}", "extraction")
        for file in part.mended:
            status.warn(f"{file} was not as it had been written: its documents were read from Firestore again", "extraction")
        if part.scan_reason:
            status.warn(f"{part.label}: all keys were compared, because {part.scan_reason}", "extraction")
    _refuse_idle_patterns(run, extracted)
    collections = sum(len(part.collections) for part in extracted)
    done = PhaseReceipt(totalRecords=sum(part.documents for part in extracted), collections=collections)
    status.note(reads=sum(part.reads for part in extracted), documentsPassedOver=sum(part.passed for part in extracted))
    if not here.is_test:
        complete = Completeness.of(extracted)
        status.note(completeness=complete.model_dump() | {"said": complete.said})
    if here.is_increment:
        status.note(keysCompared=sum(change.documents for part in extracted for change in part.changes if change.scanned))
        if here.settings.schema_changes == "freeze" and (passed := sum(part.passed for part in extracted)):
            told = "documents of collections without a table, or not chosen, were left out"
            status.warn(f"{told}: {passed} (--schema-changes freeze)", "extraction")
    here.end("extraction", done)
    return done


def _refuse_idle_patterns(run: Run, extracted: list[Extracted]) -> None:
    here = world(run)
    found = {
        *read_profile(here.workspace.archive, [part.collection for part in extracted]),
        *(change.collection for part in extracted for change in part.changes),
    }
    idle = [pattern for pattern in here.selection.idle(found) if pattern in here.selection.include]
    if idle and (found or any(part.passed for part in extracted)):
        if not here.is_test:
            raise NothingMatches(patterns=", ".join(idle))
        here.status.warn(f"Nothing in the sample matches {', '.join(idle)}, which need not mean that nothing does.", "extraction")
