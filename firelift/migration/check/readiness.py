"""`firelift check`: whether a migration can run and what it would cost, before a document is read and without writing anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from firelift.errors import FireliftError
from firelift.firestore.channel import open_firestore
from firelift.firestore.query import server_time
from firelift.firestore.source import source_of
from firelift.formatting import size
from firelift.migration.check.read_budget import foreseen_reads, most_reads, refuse_too_many_reads
from firelift.modes.test.costs import Estimated, Pace, Price, price_in_words, price_of, seconds_at, total
from firelift.modes.test.estimate import earlier_pace
from firelift.paths import Selection
from firelift.phases.planning import forecaster
from firelift.phases.pre_validation import BYTES_A_DOCUMENT, Snapshot, refuse_unmatched, root_found, survey, warnings_of
from firelift.planning.build import PlanOptions, TableForecast
from firelift.planning.mapping import read_mapping
from firelift.planning.model import TablePlan
from firelift.postgres.schema.preflight import ServerNow, check_target, reach, server_now
from firelift.postgres.schema.supabase import check_api
from firelift.receipts import Validated
from firelift.run.redact import redact
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.settings.small_collections import together

MEMORY_A_WORKER, MEMORY_BESIDE = 250 << 20, 400 << 20
"""Bytes, as measured with documents of half a KiB, and with room to spare."""
LARGEST_SKEW: Final = 60.0
"""Seconds between two clocks from which on a warning is worth it: Google refuses tokens that are five minutes off."""
NAME: Final = "check"


class Clocks(Estimated):
    """Seconds that this machine's clock is ahead of the others; None where nobody was asked."""

    firestore: float | None
    target: float | None


class Room(Estimated):
    """Bytes; None where nobody knows."""

    free: int | None
    needed: int | None


class Cost(Estimated):
    """Document reads that Firestore would bill, and their price; None where Firestore does not count the documents."""

    reads: int | None
    price: Price


class Checked(Estimated):
    """What was found out. A migration that begins now is refused for none of it where there are no problems."""

    ready: bool
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    source: str
    read_time: str | None
    root_collections: int
    documents: int | None
    """None where Firestore does not count them, or was not reached."""
    target: str | None
    server_version: str | None
    database_bytes: int | None
    """The size of the target's database now; how much room its disk has no server says."""
    renamed: dict[str, str]
    """Root collections whose tables get other names, with these names; names of fields are known once the documents are read."""
    clocks: Clocks
    disk: Room
    memory: Room
    full: Cost
    increment: Cost
    """Of an incremental run that compares all keys and finds that nothing has changed."""
    price: str
    seconds: float | None
    """Of a full run, at the pace of the last one in this working directory; None where there was none."""
    pace_of: str | None
    most_reads: int | None

    def report(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True)


class _Source(NamedTuple):
    snapshot: Snapshot | None
    ahead: float | None
    problems: list[FireliftError]


class _Target(NamedTuple):
    version: str | None
    now: ServerNow | None
    tables: Mapping[str, str]
    warnings: list[str]
    problems: list[FireliftError]


def check_both_sides(settings: Settings) -> Checked:
    """Reaches both sides and reckons; raises nothing but what is wrong with the settings themselves."""
    options = PlanOptions(naming=settings.naming, mapping=read_mapping(settings.mapping))
    found = _look_at_source(settings)
    roots = [root_found(root) for root in found.snapshot.roots] if found.snapshot else []
    target = _look_at_target(settings, options, [name for root in roots for name in root.collections])
    validated = Validated(read_time="", roots=tuple(roots), documents=total(root.documents for root in roots) if found.snapshot else None)
    reads = foreseen_reads(validated, settings.range_documents)
    cost = Cost(reads=reads, price=price_of(reads, settings.read_price))
    pace = earlier_pace(Workspace(settings.working_dir.absolute(), NAME), settings.target())
    clocks = Clocks(firestore=found.ahead, target=target.now and _ahead_of(target.now.moment))
    disk, memory = _disk(settings, validated.documents), _memory(settings)
    most = most_reads(settings)
    problems = [*found.problems, *target.problems, *(_budget_problems(settings, validated) if found.snapshot else ())]
    room = [*_too_little("free disk space for the working directory", disk)]
    return Checked(
        ready=not problems and not room,
        problems=tuple(redact(text, settings.secrets()) for text in (*map(str, problems), *room)),
        warnings=tuple(redact(text, settings.secrets()) for text in _warnings(found, target, clocks, memory)),
        source=source_of(settings).name,
        read_time=found.snapshot.read_time if found.snapshot else None,
        root_collections=sum(len(root.collections) for root in roots),
        documents=validated.documents,
        target=settings.target(),
        server_version=target.version,
        database_bytes=target.now and target.now.database_bytes,
        renamed={collection: table for collection, table in target.tables.items() if table != collection},
        clocks=clocks,
        disk=disk,
        memory=memory,
        # A key is billed as its document is.
        full=cost,
        increment=cost,
        price=price_in_words(settings.read_price),
        seconds=_seconds(pace, validated.documents),
        pace_of=pace.run if pace else None,
        most_reads=most,
    )


def _look_at_source(settings: Settings) -> _Source:
    selection = Selection(settings.collections, settings.exclude_collections)
    try:
        source = source_of(settings)
        with closing(open_firestore(source)) as firestore:
            firestore.reach()
            ahead = _ahead_of(datetime.fromisoformat(server_time(firestore)))
        snapshot = survey(source, settings.read_time, selection, together(settings), lambda _: None)
    except FireliftError as problem:
        return _Source(None, None, [problem])
    try:
        refuse_unmatched(snapshot.names, selection, ())
    except FireliftError as problem:
        return _Source(snapshot, ahead, [problem])
    return _Source(snapshot, ahead, [])


def _look_at_target(settings: Settings, options: PlanOptions, roots: list[str]) -> _Target:
    foreseen: list[TableForecast] = []
    forecast = forecaster(
        roots, Selection(settings.collections, settings.exclude_collections), options, settings.working_dir.absolute() / "runs"
    )

    def forecast_tables(earlier: Mapping[str, TablePlan]) -> TableForecast:
        foreseen.append(forecast(earlier))
        return foreseen[-1]

    if settings.database_url is None:
        missing = ["no target was given, so none was checked: set SUPABASE_DB_URL or DATABASE_URL"]
        return _Target(None, None, forecast_tables({}).tables, missing, [])
    try:
        url = settings.target_url()
        reached, now = reach(url, NAME), server_now(url, NAME)
        problems = check_target(url, NAME, settings.target_schema, forecast_tables, settings.max_workers + 3)
    except FireliftError as problem:
        return _Target(None, None, {}, [], [problem, *_api_problems(settings)])
    tables = foreseen[-1].tables if foreseen else {}
    return _Target(reached.version, now, tables, [*filter(None, [reached.warning])], [*problems, *_api_problems(settings)])


def _api_problems(settings: Settings) -> list[FireliftError]:
    try:
        if settings.supabase_url and settings.supabase_key:
            check_api(settings.supabase_url, settings.supabase_key.get_secret_value())
    except FireliftError as problem:
        return [problem]
    return []


def _budget_problems(settings: Settings, validated: Validated) -> list[FireliftError]:
    try:
        refuse_too_many_reads(settings, validated)
    except FireliftError as problem:
        return [problem]
    return []


def _warnings(found: _Source, target: _Target, clocks: Clocks, memory: Room) -> Iterator[str]:
    if found.snapshot is not None:
        yield from warnings_of(found.snapshot)
    yield from target.warnings
    for name, ahead in (("Firestore's", clocks.firestore), ("the target's", clocks.target)):
        if ahead is not None and abs(ahead) > LARGEST_SKEW:
            where = "ahead of" if ahead > 0 else "behind"
            yield f"this machine's clock is {abs(ahead):.0f} s {where} {name}: set it, before tokens are refused"
    yield from (f"{little}; a smaller --max-workers needs less" for little in _too_little("memory", memory))


def _too_little(what: str, room: Room) -> Iterator[str]:
    if room.free is not None and room.needed is not None and room.free < room.needed:
        yield f"too little {what}: {size(room.free)}, and the run may need {size(room.needed)}"


def _ahead_of(moment: datetime) -> float:
    return round((datetime.now(UTC) - moment.astimezone(UTC)).total_seconds(), 1)


def _disk(settings: Settings, documents: int | None) -> Room:
    place = settings.working_dir.absolute()
    existing = next(directory for directory in (place, *place.parents) if directory.exists())
    needed = None if documents is None else 2 * documents * BYTES_A_DOCUMENT
    return Room(free=shutil.disk_usage(existing).free, needed=needed)


def _memory(settings: Settings) -> Room:
    return Room(free=_available_memory(), needed=MEMORY_BESIDE + settings.max_workers * MEMORY_A_WORKER)


def _available_memory() -> int | None:
    """As Linux estimates it; of other systems what is free at this moment, None where they do not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) << 10
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _seconds(pace: Pace | None, documents: int | None) -> float | None:
    if pace is None or documents is None:
        return None
    return total(seconds_at(pace, phase, documents) for phase in pace.seconds)
