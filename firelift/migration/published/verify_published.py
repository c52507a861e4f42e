"""Verifies a published target: the documents of its run once more, compared and judged as before publishing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from firelift.errors import FireliftError
from firelift.files import FileChanged
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.errors import UNAVAILABLE
from firelift.formatting import counted
from firelift.migration.published.published_runs import (
    Documents,
    NoArchive,
    NothingToCompareWith,
    PublishedRun,
    archived,
    published_runs,
    read_again,
    recorded_source,
)
from firelift.migration.surroundings import Suites
from firelift.phases.transformation import ArchiveIncomplete
from firelift.phases.verification import prove
from firelift.postgres.session.lock import session_of
from firelift.receipts import RunVerified, Verified
from firelift.run.earlier_runs import earlier_verification
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.settings.verification_level import LEVELS
from firelift.storage.archive import ArchiveDamaged
from firelift.verification.inputs import Known, Tables, Verification
from firelift.verification.proof import Against, Limits
from firelift.verification.random_sample import new_seed
from firelift.workers import Workers

Say = Callable[[str], None]
"""Hears, in a sentence, what is being done."""
SECONDS = 5.0


class ReplacedMeanwhile(FireliftError):
    """A migration published into the tables while they were being verified."""

    recovery = "automatic"
    remedy = "Nothing is known to be wrong. Run `firelift verify` again."


class Counting:
    """Says every few seconds how far it is."""

    def __init__(self, say: Say) -> None:
        self._say, self._lock, self._said = say, threading.Lock(), time.monotonic()

    def of(self, what: str) -> Callable[[int], None]:
        total = 0

        def count(documents: int) -> None:
            nonlocal total
            with self._lock:
                total += documents
                if time.monotonic() - self._said >= SECONDS:
                    self._said = time.monotonic()
                    self._say(f"{counted(total, 'document')} {what}")

        return count


def verify_published(settings: Settings, against: Against | None, seed: str | None, say: Say, suites: Suites) -> Verified:
    """Compares the published tables of a schema with their documents; writes nothing to the target. Results get directories of their own.

    The runs are the one named, else all of which a table is published; the database each was read from is that run's, credentials and
    addresses are those of today. Without `against` a run's own archive is taken where it is whole, else Firestore is read again.
    Raises NothingPublished, NoArchive, SnapshotExpired, NothingToCompareWith.
    """
    runs = published_runs(settings.target_url(), settings.migration_id, settings.target_schema)
    threading.Thread(target=suites.preload, name="firelift-preload", daemon=True).start()
    done: list[Verified] = []
    unseen = [*_of_other_runs(runs[0])] if settings.migration_id else []
    with Workers(settings.max_workers) as workers:
        for published in runs:
            try:
                done.append(_verified_by_what_there_is(settings, against, seed, say, suites, workers, published))
            except CANNOT as error:
                # Where it is all there is, that is the answer.
                if published is runs[-1] and not done:
                    raise
                unseen += (f"{collection} ({published.migration_id}: {error})" for collection in published.tables)
    return _together(done, unseen)


CANNOT = (NoArchive, NothingToCompareWith, *UNAVAILABLE)
"""Why the tables of a run are not compared, while those of others may be."""


def _of_other_runs(published: PublishedRun) -> Iterator[str]:
    """Of a run that was named: the published tables that are not, or no longer, its own."""
    yield from (f"{collection} (of run {other})" for collection, other in published.others.items())


def _verified_by_what_there_is(
    settings: Settings, against: Against | None, seed: str | None, say: Say, suites: Suites, workers: Workers, published: PublishedRun
) -> Verified:
    if against == "firestore":
        return _verified(settings, against, seed, say, suites, workers, published)
    try:
        return _by_the_archive(settings, seed, say, suites, workers, published)
    except NoArchive as unusable:
        if against is not None:
            raise
        why = ", ".join(f"{name.replace('_', ' ')}: {fact}" for name, fact in unusable.facts.items())
        say(f"{published.migration_id}: its archive cannot be used ({why}), so Firestore is read again as of {published.read_time}")
        try:
            return _verified(settings, "firestore", seed, say, suites, workers, published)
        except UNAVAILABLE as error:
            raise NothingToCompareWith(migration_id=published.migration_id, archive=why, firestore=str(error)) from error


def _verified(
    settings: Settings, against: Against, seed: str | None, say: Say, suites: Suites, workers: Workers, published: PublishedRun
) -> Verified:
    """The tables of one run."""
    session = session_of(settings.target_url(), f"verify {published.migration_id}")
    workspace = Workspace(settings.working_dir.absolute(), published.migration_id)
    counting, level = Counting(say), LEVELS[settings.verification_level]
    with _documents(settings, against, workers, workspace, published, counting) as documents:
        say(f"{published.migration_id}: {counted(len(published.tables), 'table')} as of {published.read_time}, against {against}")
        results = _directory(workspace)
        source, unreachable = _reachable(settings, published) if level.rereads else (None, [])
        known = Known(
            relations=documents.relations,
            earlier=earlier_verification(workspace, settings.target()),
            completeness=documents.completeness,
            warnings=unreachable,
        )
        verification = Verification(
            Tables(session, settings.target_schema, documents.plan, documents.run),
            roots=documents.roots,
            level=level,
            seed=seed or new_seed(),
            read_time=published.read_time,
            results=results,
            limits=Limits(settings.max_lookup_ms, settings.max_count_ms),
            against=against,
            source=source,
            known=known,
        )
        proof = prove(workers, verification, counting.of("compared"))
        say("validating the expectations")
        verified = suites.validate(session, documents.plan, proof, results, published.migration_id)
    if not verified.passed and published not in published_runs(session.url, None, settings.target_schema):
        raise ReplacedMeanwhile(migration_id=published.migration_id)
    return verified.model_copy(update={"results": str(results), "runs": (_told(published, verified, results),)})


def _by_the_archive(settings: Settings, seed: str | None, say: Say, suites: Suites, workers: Workers, published: PublishedRun) -> Verified:
    """Raises NoArchive also where it is found to be damaged while it is read."""
    try:
        return _verified(settings, "archive", seed, say, suites, workers, published)
    except (ArchiveDamaged, ArchiveIncomplete, FileChanged) as damaged:
        raise NoArchive(**damaged.facts) from damaged


def _told(published: PublishedRun, verified: Verified, results: Path) -> RunVerified:
    return RunVerified(
        migration_id=published.migration_id,
        read_time=published.read_time,
        against=verified.against,
        tables=len(verified.tables),
        documents=sum(table.documents - table.rejected for table in verified.tables),
        compared=verified.compared,
        passed=verified.passed,
        results=str(results),
    )


def _together(done: Sequence[Verified], unseen: Sequence[str]) -> Verified:
    """What was verified of all runs: their tables and figures one after the other, the first hundred differences of each kind."""
    first, *_ = sorted(done, key=lambda each: each.passed)
    return first.model_copy(
        update={
            "passed": all(each.passed for each in done),
            "against": " and ".join(dict.fromkeys(each.against for each in done)),
            **{name: sum(getattr(each, name) for each in done) for name in SUMMED},
            **{name: tuple(found for each in done for found in getattr(each, name)) for name in ("tables", "warnings", "runs")},
            **{name: tuple(found for each in done for found in getattr(each, name))[:100] for name in ("failed", "differences")},
            "not_looked_at": tuple(unseen),
        }
    )


SUMMED = ("compared", "reread", "expectations", "failed_total", "differences_total")


def _directory(workspace: Workspace) -> Path:
    """A new directory for the results: those of the migration itself stay as they were."""
    moment = datetime.now(UTC)
    return workspace.make_private("verifications", f"{moment:%Y-%m-%dT%H-%M-%S}-{moment.microsecond // 1000:03d}Z")


@contextmanager
def _documents(
    settings: Settings, against: Against, workers: Workers, workspace: Workspace, published: PublishedRun, counting: Counting
) -> Iterator[Documents]:
    """What the rows are compared with; what was read again for it is removed afterwards."""
    if against == "archive":
        yield archived(workspace, published)
        return
    # Beside the working directory's runs: documents are as large as the archive would be, and as confidential.
    with TemporaryDirectory(dir=workspace.make_private(), prefix=".documents-") as scratch:
        yield read_again(
            workers, recorded_source(settings, published), workspace, published, Path(scratch) / "again", counting.of("read again")
        )


def _reachable(settings: Settings, published: PublishedRun) -> tuple[Source | None, list[str]]:
    """The run's database, or why it cannot be reached: the archive alone says what was read, too."""
    try:
        source = recorded_source(settings, published)
        with closing(open_firestore(source)) as firestore:
            firestore.reach()
    except FireliftError as error:
        return None, [f"no document was read from Firestore again: {error}"]
    return source, []
