"""Pre-validation: everything a migration needs is there, found out before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from firelift.errors import ConfigurationError, FireliftError
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.discovery import DiscoveredRoot, roots
from firelift.firestore.errors import NothingMatches
from firelift.firestore.query import root_collection_ids, server_time
from firelift.modes.test.costs import total
from firelift.paths import Selection
from firelift.phases.planning import forecaster
from firelift.planning.build import ForecastTables, PlanOptions
from firelift.planning.mapping import Mapping
from firelift.planning.naming import Naming
from firelift.receipts import RootCollection, Validated
from firelift.verification.completeness import UNCOUNTED

# Firestore does not say how large a database is. Archive and tables together took 0.2 KB a document of 570 bytes;
# with larger documents a full disk still stops the run cleanly, and it can be resumed when there is room.
BYTES_A_DOCUMENT = 1024


class Snapshot(NamedTuple):
    """A moment, and the chosen root collections with their counts at it."""

    read_time: str
    roots: list[DiscoveredRoot]
    names: tuple[str, ...] = ()
    """All root collections, those that were not chosen too."""


class NotReady(ConfigurationError):
    """The migration cannot start."""

    remedy = "Nothing was written. Mend what is named and run again."


class InsufficientDiskSpace(ConfigurationError):
    """There is too little free space for the working directory."""

    remedy = "Free space there or choose another --working-dir."


class NotASnapshot(ConfigurationError):
    """The read time cannot be used."""

    remedy = "Use a time of the last hour, or with point-in-time recovery a whole minute of the last 7 days."


@dataclass(frozen=True)
class Target:
    """The target as the checks see it: problems are listed, given what can be foreseen of the tables to come."""

    problems: Callable[[ForecastTables], list[FireliftError]]


def validate(
    snapshot: Snapshot,
    selection: Selection,
    naming: Naming,
    mapping: Mapping,
    run: Path,
    target: Target | None,
    published: Collection[str] = (),
) -> Validated:
    """Looks at the target, the disk and the names to come. Raises the one error, or NotReady with all of them.

    `published`: collections that patterns may name although Firestore no longer has any of their documents.
    """
    known = {collection.partition("/")[0] for collection in published}
    refuse_unmatched(snapshot.names, selection, known)
    taken = [root_found(root) for root in snapshot.roots]
    # Of a collection that has tables only the difference is archived.
    whole = sum(root.documents or 0 for root in taken if not known.issuperset(root.collections))
    forecast_tables = forecaster([name for root in taken for name in root.collections], selection, PlanOptions(naming, mapping), run.parent)
    refuse([*_disk_problems(run, whole), *(target.problems(forecast_tables) if target else [])])
    return Validated(
        read_time=snapshot.read_time,
        roots=tuple(taken),
        documents=total(root.documents for root in taken),
        warnings=tuple(warnings_of(snapshot)),
    )


def warnings_of(snapshot: Snapshot) -> Iterator[str]:
    if not snapshot.roots:
        yield _nothing(snapshot.names)
    if uncounted := [root for root in snapshot.roots if root.documents is None]:
        yield UNCOUNTED.format(
            number=len(uncounted), of=sum(1 + len(root.beside) for root in snapshot.roots), why=uncounted[0].why_uncounted
        )


def root_found(root: DiscoveredRoot) -> RootCollection:
    return RootCollection(
        collection=root.collection_id,
        beside=root.beside,
        start=root.keys.start,
        end=root.keys.end,
        documents=root.documents,
        each=root.each,
    )


def survey(source: Source, read_time: str, selection: Selection, together: int, report: Callable[[Any], None]) -> Snapshot:
    """Reaches Firestore and chooses the snapshot; root collections side by side with up to `together` documents become one.

    For a worker, so that a stop need not wait for the count of a large collection.
    """
    firestore = open_firestore(source)
    try:
        firestore.reach()
        moment = snapshot_time(read_time, server_time(firestore))
        names = root_collection_ids(firestore, moment)
        return Snapshot(moment, roots(firestore, names, moment, together, selection.may_take_below), tuple(names))
    finally:
        firestore.close()


def refuse(problems: Sequence[FireliftError]) -> None:
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise NotReady(**{f"problem_{number}": str(problem).rstrip(".") for number, problem in enumerate(problems, 1)})


def snapshot_time(wanted: str, now: str) -> str:
    """The read time of the run: Firestore's now, its last whole minute, or the time that was asked for."""
    if wanted == "now":
        return now
    moment = datetime.fromisoformat(now if wanted == "minute" else wanted).astimezone(UTC)
    if wanted == "minute":
        moment = moment.replace(second=0, microsecond=0)
    elif moment > datetime.fromisoformat(now):
        raise NotASnapshot(read_time=wanted, firestore_now=now)
    return moment.isoformat().replace("+00:00", "Z")


def refuse_unmatched(found: Sequence[str], selection: Selection, published: Collection[str]) -> None:
    patterns = (*selection.include, *selection.exclude)
    known = {*found, *published}
    unmatched = [pattern for pattern in patterns if not any(map(Selection([pattern]).may_take_below, known))]
    if unmatched and found:
        raise NothingMatches(patterns=", ".join(unmatched), root_collections=", ".join(found[:20]))


def _nothing(found: Sequence[str]) -> str:
    chosen = "--collections and --exclude-collections leave nothing to migrate."
    return chosen if found else "The Firestore database holds no document."


def _disk_problems(run: Path, documents: int) -> list[FireliftError]:
    free = shutil.disk_usage(run).free
    needed = 2 * documents * BYTES_A_DOCUMENT
    return [InsufficientDiskSpace(directory=str(run), free_bytes=free, needed_bytes=needed)] if free < needed else []
