"""Verifies a published target: the documents of its run once more, compared and judged as before publishing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from expectations import judge, warm
from firelift.errors import FireliftError
from firelift.firestore.channel import Source, open_firestore
from firelift.phases.published import Documents, PublishedRun, archived, published_run, read_again
from firelift.phases.verification import Tables, prove
from firelift.postgres.lock import signature
from firelift.receipts import Verified
from firelift.run.earlier import earlier_verification
from firelift.run.workspace import Workspace
from firelift.settings import Settings
from firelift.sources import source_of
from firelift.verification.proof import Against, Limits
from firelift.verification.sample import new_seed
from firelift.workers import Workers

Say = Callable[[str], None]
"""Hears, in a sentence, what is being done."""
SECONDS = 5.0


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
                    self._say(f"{total:,} documents {what}")

        return count


def verify_published(settings: Settings, against: Against, seed: str | None, say: Say) -> Verified:
    """Compares what a run published with its documents; writes nothing to the target. Its results get a directory of their own.

    The run is the one named, else the latest that published into the schema; the database it was read from is that run's, credentials
    and addresses are those of today. Raises NothingPublished, NoArchive, SnapshotExpired.
    """
    url = settings.target_url()
    published = published_run(url, settings.migration_id, settings.target_schema)
    threading.Thread(target=warm, name="firelift-warm", daemon=True).start()
    workspace = Workspace(settings.working_dir.absolute(), published.migration_id)
    say(f"{published.migration_id}: {len(published.tables)} tables as of {published.read_time}, against {against}")
    counting = Counting(say)
    with Workers(settings.max_workers) as workers, _documents(settings, against, workers, workspace, published, counting) as documents:
        results = _directory(workspace)
        proof = prove(
            workers,
            Tables(url, signature(f"verify {published.migration_id}"), settings.target_schema, documents.plan, documents.run),
            documents.roots,
            settings.verification_level,
            seed or new_seed(),
            against=against,
            source=_reachable(settings, published, say) if settings.verification_level == "comprehensive" else None,
            read_time=published.read_time,
            relations=documents.relations,
            limits=Limits(settings.max_lookup_ms, settings.max_count_ms),
            earlier=earlier_verification(workspace, settings.target()),
            results=results,
            progress=counting.of("compared"),
        )
    say("judging by the expectations")
    verified = judge(url, signature(f"verify {published.migration_id}"), documents.plan, proof, results, published.migration_id)
    left_out = [f"a later run has replaced {collection}: it was left out" for collection in published.replaced if settings.migration_id]
    return verified.model_copy(update={"results": str(results), "warnings": (*verified.warnings, *left_out)})


def _directory(workspace: Workspace) -> Path:
    """A new directory for the results: those of the migration itself stay as they were."""
    moment = datetime.now(UTC)
    directory = workspace.run / "verifications" / f"{moment:%Y-%m-%dT%H-%M-%S}-{moment.microsecond // 1000:03d}Z"
    directory.mkdir(mode=0o700, parents=True)
    return directory


@contextmanager
def _documents(
    settings: Settings, against: Against, workers: Workers, workspace: Workspace, published: PublishedRun, counting: Counting
) -> Iterator[Documents]:
    """What the rows are compared with; what was read again for it is removed afterwards."""
    if against == "archive":
        yield archived(workspace, published)
        return
    # Beside the working directory's runs: documents are as large as the archive would be, and as confidential.
    workspace.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(dir=workspace.run, prefix=".documents-") as scratch:
        yield read_again(workers, _source(settings, published), workspace, published, Path(scratch) / "again", counting.of("read again"))


def _source(settings: Settings, published: PublishedRun) -> Source:
    """The run's database, reached with today's credentials."""
    recorded = {name: published.settings[name] for name in ("project_id", "firestore_database") if published.settings.get(name)}
    return source_of(settings.model_copy(update=recorded))


def _reachable(settings: Settings, published: PublishedRun, say: Say) -> Source | None:
    """The run's database, or None where it cannot be reached: the archive alone says what was read, too."""
    try:
        source = _source(settings, published)
        firestore = open_firestore(source)
        try:
            firestore.reach()
        finally:
            firestore.close()
    except FireliftError as error:
        say(f"no document is read from Firestore again: {error}")
        return None
    return source
