"""What `firelift check` found out, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from firelift.formatting import aligned, count, counted, duration, plain, size
from firelift.migration.check.readiness import Checked, Cost, Room

MOST = 20
"""Collections that are named one by one."""


def check_text(found: Checked) -> str:
    """The verdict, what keeps a migration from running, then the figures."""
    lines = [
        "Ready: nothing was found that would keep a migration from running." if found.ready else "NOT ready:",
        *(f"  {_line(problem)}" for problem in found.problems),
        *(f"warning: {_line(warning)}" for warning in found.warnings),
        "",
        *aligned([*_figures(found)]),
        "",
        found.price,
        "Documents were only counted, and nothing was written.",
    ]
    return "\n".join(lines) + "\n"


def check_message(found: Checked) -> str:
    """The same in a line, for a state of Prefect."""
    if not found.ready:
        return f"NOT ready: {'; '.join(map(_line, found.problems))}"
    return f"Ready: {counted(found.documents, 'document')}; a full migration: {_reads(found.full)}."


def _line(text: str) -> str:
    """What servers and names from the data say, in a line that leaves the terminal as it is."""
    return plain(" ".join(text.split()))


def _figures(found: Checked) -> Iterator[tuple[str, str]]:
    yield "Firestore", f"{found.source}{f', as of {found.read_time}' if found.read_time else ''}"
    yield "Documents", f"{count(found.documents)} in {counted(found.root_collections, 'root collection')}"
    yield "Target", f"{found.target or 'none given'}{f', PostgreSQL {found.server_version}' if found.server_version else ''}"
    if found.database_bytes is not None:
        yield "Its size now", f"{size(found.database_bytes)}; no server says over SQL how much room its disk has"
    yield "A full migration", f"{_reads(found.full)}; {_time(found)}"
    yield "An increment, nothing changed", f"{_reads(found.increment)}; hourly {_usd(found.increment, 24)} a day"
    if found.most_reads is not None:
        yield "A run may read", f"{found.most_reads:,} (--max-reads, --max-cost)"
    yield "Disk here", _room(found.disk)
    yield "Memory here", _room(found.memory)
    yield "Clock here", f"{_ahead(found.clocks.firestore)} Firestore's, {_ahead(found.clocks.target)} the target's"
    renamed = [f"{plain(collection)} -> {plain(table)}" for collection, table in list(found.renamed.items())[:MOST]]
    more = f", … and {len(found.renamed) - MOST} more" if len(found.renamed) > MOST else ""
    yield "Tables with another name", f"{', '.join(renamed) or 'none'}{more}"


def _reads(cost: Cost) -> str:
    return f"{count(cost.reads)} reads billed, {_usd(cost)}"


def _usd(cost: Cost, times: int = 1) -> str:
    return "$?" if cost.price.usd is None else f"${cost.price.usd * times:,.2f}"


def _time(found: Checked) -> str:
    if found.pace_of is None:
        return "how long it takes is not known before a first run (`--migration-mode test` gives an upper bound)"
    return f"about {duration(found.seconds)} at the pace of {found.pace_of}"


def _room(room: Room) -> str:
    return f"{'?' if room.free is None else size(room.free)} free, {'?' if room.needed is None else size(room.needed)} may be needed"


def _ahead(seconds: float | None) -> str:
    return "? s from" if seconds is None else f"{abs(seconds):.1f} s {'behind' if seconds < 0 else 'ahead of'}"
