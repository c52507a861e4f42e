"""What a full run would take, reckoned from a sample: documents, reads and their price, time and room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

PRICES = "0.06 in the US multi-region, 0.036 in us-west2, 0.03 in us-west1 and us-central1 by Google's pages as seen in 2026"
"""US dollars for 100,000 reads of a database of the Standard edition, beyond the free reads of a day: those that were seen (in
stored copies of https://firebase.google.com/docs/firestore/pricing and …/docs/firestore/pipelines/pricing)."""
SCALED = ("extraction", "transformation", "import", "verification")
"""The phases that take longer with more documents."""


Number = TypeVar("Number", int, float)

_UNCOUNTED = (
    "Firestore does not count the documents here, so what depends on their number is not known. "
    "A full run would read every key a second time, to prove that nothing is missing, and each key is billed as a document."
)
_OWN_PACE = (
    "this run's documents a second in every phase. A sample is mostly start-up, so this is an upper bound, often a high one; "
    "a larger --sample-size or an earlier full run in the same working directory gives a better one."
)


class Estimated(BaseModel):
    """A part of the report: its keys are written as all of the report's are."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class CollectionSeen(Estimated):
    """What a run found out about a collection from its sample."""

    collection: str
    table: str | None
    """None where no table can hold it."""
    documents: int | None
    """In the whole database; None where nobody knows."""
    exact: bool
    sampled: int
    archive_bytes: float
    """Of the sampled documents, in the archive."""
    tables_bytes: int
    """Of their rows, in the working directory."""
    target_bytes: int | None
    """Of the whole table in the target; None where nothing was loaded."""


class Pace(Estimated):
    """How long each phase took for so many documents, and whose pace it is."""

    run: str | None
    """The id of an earlier full run; None for the test run itself."""
    seconds: Mapping[str, float]
    documents: Mapping[str, int]


class CollectionEstimate(Estimated):
    """One collection in a full run."""

    collection: str
    table: str | None
    documents: int | None
    exact: bool
    """`documents` was counted, not reckoned from a sample."""
    archive_bytes: int | None
    tables_bytes: int | None
    target_bytes: int | None


class Reads(Estimated):
    """Document reads that Firestore would bill."""

    documents: int | None
    counts: int
    total: int | None


class Price(Estimated):
    """What the reads would cost."""

    usd: float | None
    per_hundred_thousand_reads: float


class Time(Estimated):
    """How long a full run would take."""

    total: float | None
    phases: dict[str, float | None]
    earlier_run: str | None
    """Whose pace it is; None for the test run's own."""


class Disk(Estimated):
    """Bytes in the working directory."""

    archive: int | None
    tables: int | None
    total: int | None


class Estimate(Estimated):
    """A full run, as far as a sample can tell; None is what it cannot, above all where Firestore does not count."""

    documents: int | None
    reads: Reads
    price: Price
    seconds: Time
    disk_bytes: Disk
    target_bytes: int | None
    collections: tuple[CollectionEstimate, ...]
    how: tuple[str, ...]

    def report(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True)


def price_of(reads: int | None, per_hundred_thousand: float) -> Price:
    """What so many reads cost; None where nobody knows how many."""
    usd = None if reads is None else round(reads * per_hundred_thousand / 100_000, 4)
    return Price(usd=usd, per_hundred_thousand_reads=per_hundred_thousand)


def estimate(collections: Sequence[CollectionSeen], read: int | None, counts: int, pace: Pace, read_price: float) -> Estimate:
    """`read` documents would be streamed, also those that --collections passes over; `counts` reads are billed for counting.

    Where `read` is None because Firestore does not count, all keys would be read a second time, which nobody can reckon either.
    """
    figures = tuple(map(_whole, collections))
    documents = total(one.documents for one in figures)
    archive, tables = total(one.archive_bytes for one in figures), total(one.tables_bytes for one in figures)
    weighed = [one.target_bytes for one in figures if one.target_bytes is not None]
    phases = {name: seconds_at(pace, name, documents) for name in pace.seconds}
    reads = total([read, counts])
    return Estimate(
        documents=documents,
        reads=Reads(documents=read, counts=counts, total=reads),
        price=price_of(reads, read_price),
        seconds=Time(total=_rounded(total(phases.values())), phases=phases, earlier_run=pace.run),
        disk_bytes=Disk(archive=archive, tables=tables, total=total([archive, tables])),
        target_bytes=sum(weighed) if weighed and documents is not None else None,
        collections=figures,
        how=tuple(_how(figures, pace, bool(weighed), read_price)),
    )


def price_in_words(read_price: float) -> str:
    """Which price it is, and what it does not say."""
    return (
        f"Price: ${read_price:g} for 100,000 reads, as --read-price says ({PRICES}). "
        "The Enterprise edition bills units of 4 KiB instead, which nobody can reckon from a count."
    )


def total(numbers: Iterable[Number | None]) -> Number | None:
    """Their sum; None where one of them is not known."""
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)


def _whole(seen: CollectionSeen) -> CollectionEstimate:
    factor = None if seen.documents is None else seen.documents / seen.sampled if seen.sampled else 0.0
    return CollectionEstimate(
        collection=seen.collection,
        table=seen.table,
        documents=seen.documents,
        exact=seen.exact,
        archive_bytes=None if factor is None else round(seen.archive_bytes * factor),
        tables_bytes=None if factor is None else round(seen.tables_bytes * factor),
        target_bytes=seen.target_bytes,
    )


def seconds_at(pace: Pace, phase: str, documents: int | None) -> float | None:
    """What does not grow with the documents is taken as it was."""
    before = pace.documents.get(phase, 0)
    if phase not in SCALED or not before:
        return round(pace.seconds[phase], 1)
    return None if documents is None else round(pace.seconds[phase] * documents / before, 1)


def _how(collections: Sequence[CollectionEstimate], pace: Pace, weighed: bool, read_price: float) -> list[str]:
    counted = "Documents: Firestore's own COUNT of every root collection at the snapshot"
    shared = "; collections beneath large ones have the share of it that was met in the places that were looked into"
    time = f"the documents a second of {pace.run}, the last full run in this working directory." if pace.run else _OWN_PACE
    room = "bytes a row of the scratch tables with their indexes; larger tables fill their pages better."
    exact, known = all(one.exact for one in collections), all(one.documents is not None for one in collections)
    return [
        counted + ("." if exact else shared + ".") if known else _UNCOUNTED,
        price_in_words(read_price),
        f"Time: {time}",
        "Disk: bytes a document in this run's archive and tables; larger files pack better.",
        f"Target: {room if weighed else 'not known without loading rows.'}",
    ]
