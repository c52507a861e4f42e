"""Verifies a published target: the documents of its run once more, compared and judged as before publishing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from expectations import judge, warm
from firelift.counting import counted
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


class ReplacedMeanwhile(FireliftError):
    """A migration published into the tables while they were being verified."""

    retry = True
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


def verify_published(settings: Settings, against: Against, seed: str | None, say: Say) -> Verified:
    """Compares what a run published with its documents; writes nothing to the target. Its results get a directory of their own.

    The run is the one named, else the latest that published into the schema; the database it was read from is that run's, credentials
    and addresses are those of today. Raises NothingPublished, NoArchive, SnapshotExpired.
    """
    url = settings.target_url()
    published = published_run(url, settings.migration_id, settings.target_schema)
    threading.Thread(target=warm, name="firelift-warm", daemon=True).start()
    workspace = Workspace(settings.working_dir.absolute(), published.migration_id)
    say(f"{published.migration_id}: {counted(len(published.tables), 'table')} as of {published.read_time}, against {against}")
    counting = Counting(say)
    with Workers(settings.max_workers) as workers, _documents(settings, against, workers, workspace, published, counting) as documents:
        results = _directory(workspace)
        source, unreachable = _reachable(settings, published) if settings.verification_level == "comprehensive" else (None, [])
        proof = prove(
            workers,
            Tables(url, signature(f"verify {published.migration_id}"), settings.target_schema, documents.plan, documents.run),
            documents.roots,
            settings.verification_level,
            seed or new_seed(),
            against=against,
            completeness=documents.completeness,
            source=source,
            read_time=published.read_time,
            relations=documents.relations,
            limits=Limits(settings.max_lookup_ms, settings.max_count_ms),
            earlier=earlier_verification(workspace, settings.target()),
            results=results,
            progress=counting.of("compared"),
            warnings=(*_left_out(settings, published), *unreachable),
        )
    say("judging by the expectations")
    verified = judge(url, signature(f"verify {published.migration_id}"), documents.plan, proof, results, published.migration_id)
    if not verified.passed and published_run(url, settings.migration_id, settings.target_schema) != published:
        raise ReplacedMeanwhile(migration_id=published.migration_id)
    return verified.model_copy(update={"results": str(results)})


def _left_out(settings: Settings, published: PublishedRun) -> list[str]:
    """Of a run that was named: what is no longer there of it. The latest one has no more to show than it published."""
    return [f"a later run has replaced {collection}: it was left out" for collection in published.replaced if settings.migration_id]


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
        yield read_again(workers, _source(settings, published), workspace, published, Path(scratch) / "again", counting.of("read again"))


def _source(settings: Settings, published: PublishedRun) -> Source:
    """The run's database, reached with today's credentials."""
    recorded = {name: published.settings[name] for name in ("project_id", "firestore_database") if published.settings.get(name)}
    return source_of(settings.model_copy(update=recorded))


def _reachable(settings: Settings, published: PublishedRun) -> tuple[Source | None, list[str]]:
    """The run's database, or why it cannot be reached: the archive alone says what was read, too."""
    try:
        source = _source(settings, published)
        with closing(open_firestore(source)) as firestore:
            firestore.reach()
    except FireliftError as error:
        return None, [f"no document was read from Firestore again: {error}"]
    return source, []
