"""What was measured, as tables for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import median
from typing import Any

from benchmarks.measure import Usage

CAVEAT = (
    "The floor is one RunQuery over all documents, its bytes thrown away, from the Firestore emulator on the same machine. "
    "The emulator's speed is not Firestore's, and emulator, PostgreSQL, Prefect server and Firelift share the processors: "
    "read the ratios, not the seconds."
)

# At 100,000 documents on two cores.
MOST_FLOORS = 1.5
MOST_CPU = 70  # µs a document, without the fixed
MOST_MEMORY = 600  # MB of 10⁶ bytes
MOST_GROWTH = 1.1  # "not growing": what looks a tenth of a second apart can tell

LEVELS = ("basic", "standard", "comprehensive")
# What verifying adds.
MOST_VERIFIED = 1.8  # floors, with `standard`
MOST_COMPREHENSIVE = 0.4  # × the migration itself


@dataclass(frozen=True)
class Floor:
    """One reading of everything; seconds."""

    wall: float
    cpu: float
    messages: int
    bytes: int


@dataclass(frozen=True)
class Migration:
    """One `firelift migrate`; seconds by phase."""

    usage: Usage
    phases: dict[str, float]

    @property
    def beside_the_phases(self) -> float:
        return self.usage.wall - sum(self.phases.values())


@dataclass(frozen=True)
class Round:
    """Everything once, one after the other, so that a slow minute of the machine slows all alike."""

    ordinary: Floor
    single: Floor
    empty: Migration
    full: Migration
    verified: dict[str, Migration]
    """The full one again, by level of verification."""


@dataclass(frozen=True)
class Result:
    """All rounds at one number of documents; figures are medians over them, memory is the highest."""

    documents: int
    rounds: Sequence[Round]

    def median(self, figure: Callable[[Round], float]) -> float:
        return median(map(figure, self.rounds))

    def in_floors(self, floor: Callable[[Round], Floor], level: str | None = None) -> float:
        """Wall of the migration without the fixed cost, in floors; verified, if a level is given."""
        above = self.median(lambda one: one.full.usage.wall) - self.median(lambda one: one.empty.usage.wall)
        above += self.added(level) if level else 0.0
        return above / self.median(lambda one: floor(one).wall)

    def added(self, level: str) -> float:
        """Seconds that a level of verification adds to the migration."""
        return self.median(lambda one: one.verified[level].usage.wall) - self.median(lambda one: one.full.usage.wall)

    def added_in_migrations(self, level: str) -> float:
        return self.added(level) / self.median(lambda one: one.full.usage.wall)

    @property
    def cpu(self) -> float:
        """µs a document."""
        return self.median(lambda one: one.full.usage.cpu) / self.documents * 1e6

    @property
    def cpu_above_fixed(self) -> float:
        return (self.median(lambda one: one.full.usage.cpu) - self.median(lambda one: one.empty.usage.cpu)) / self.documents * 1e6

    @property
    def rss(self) -> float:
        """MB."""
        return max(one.full.usage.rss for one in self.rounds) / 1e6

    @property
    def pss(self) -> float:
        return max(one.full.usage.pss for one in self.rounds) / 1e6

    @property
    def verified_rss(self) -> float:
        """MB, at the most thorough level."""
        return max(one.verified[LEVELS[-1]].usage.rss for one in self.rounds) / 1e6

    def phase(self, name: str, kind: Callable[[Round], Migration]) -> float:
        return self.median(lambda one: kind(one).phases[name])


def ordinary(one: Round) -> Floor:
    return one.ordinary


def single(one: Round) -> Floor:
    return one.single


def empty(one: Round) -> Migration:
    return one.empty


def full(one: Round) -> Migration:
    return one.full


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    packages = {name: version(name) for name in ("grpcio", "prefect", "psycopg", "pyarrow", "protobuf")}
    where = {"processors": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(), **packages}
    return {"machine": where, "results": [{**asdict(result), "figures": _figures(result)} for result in results]}


def as_markdown(results: Sequence[Result]) -> str:
    return "\n\n".join([_main_table(results), CAVEAT, _phase_table(results), _targets(results)]) + "\n"


def _figures(result: Result) -> dict[str, float]:
    return {
        "wall_in_ordinary_floors": result.in_floors(ordinary),
        "wall_in_single_threaded_floors": result.in_floors(single),
        "cpu_us_a_document": result.cpu,
        "cpu_us_a_document_above_fixed": result.cpu_above_fixed,
        "peak_rss_mb": result.rss,
        "peak_pss_mb": result.pss,
        **{f"{level}_verification_adds_s": result.added(level) for level in LEVELS},
        "peak_rss_mb_comprehensive": result.verified_rss,
    }


def _main_table(results: Sequence[Result]) -> str:
    def row(name: str, figure: Callable[[Result], float], form: str) -> list[str]:
        return [name, *(form.format(figure(result)) for result in results)]

    return _table(
        [f"{os.cpu_count()} cores, median of {len(results[0].rounds)}", *(f"{result.documents:,} documents" for result in results)],
        [
            row("floor, ordinary client channel", lambda result: result.median(lambda one: one.ordinary.wall), "{:.2f} s"),
            row("floor, single-threaded channel", lambda result: result.median(lambda one: one.single.wall), "{:.2f} s"),
            row("fixed: `firelift migrate` of two documents", lambda result: result.median(lambda one: one.empty.usage.wall), "{:.2f} s"),
            row("`firelift migrate`", lambda result: result.median(lambda one: one.full.usage.wall), "{:.2f} s"),
            row("**(migrate − fixed) / floor**, ordinary", lambda result: result.in_floors(ordinary), "**{:.2f}**"),
            row("**(migrate − fixed) / floor**, single-threaded", lambda result: result.in_floors(single), "**{:.2f}**"),
            *(row(f"a `{level}` verification adds", lambda result, level=level: result.added(level), "{:.2f} s") for level in LEVELS),  # type: ignore[misc]
            row("client CPU a document", lambda result: result.cpu, "{:.0f} µs"),
            row("client CPU a document without the fixed", lambda result: result.cpu_above_fixed, "{:.0f} µs"),
            row("the floor's own, ordinary", lambda result: _floor_cpu(result, ordinary), "{:.0f} µs"),
            row("the floor's own, single-threaded", lambda result: _floor_cpu(result, single), "{:.0f} µs"),
            row("peak memory of all Firelift processes (RSS)", lambda result: result.rss, "{:.0f} MB"),
            row("the same, shared pages once (PSS)", lambda result: result.pss, "{:.0f} MB"),
            row("peak memory with a `comprehensive` verification (RSS)", lambda result: result.verified_rss, "{:.0f} MB"),
        ],
    )


def _floor_cpu(result: Result, floor: Callable[[Round], Floor]) -> float:
    return result.median(lambda one: floor(one).cpu) / result.documents * 1e6


def _phase_table(results: Sequence[Result]) -> str:
    def cells(seconds: Callable[[Result, Callable[[Round], Migration]], float]) -> list[str]:
        return [f"{seconds(results[0], empty):.2f} s", *(f"{seconds(result, full):.2f} s" for result in results)]

    names = list(results[0].rounds[0].full.phases)
    rows = [[name, *cells(lambda result, kind, name=name: result.phase(name, kind))] for name in names]  # type: ignore[misc]
    beside = cells(lambda result, kind: result.median(lambda one: kind(one).beside_the_phases))
    return _table(
        ["phase", "two documents", *(f"{result.documents:,}" for result in results)],
        [*rows, ["beside them (Python, Prefect)", *beside]],
    )


def _targets(results: Sequence[Result]) -> str:
    lines = [
        line
        for result in results
        for line in (
            _target(result, "wall, ordinary floor", result.in_floors(ordinary), MOST_FLOORS, " × floor + fixed"),
            _target(
                result,
                "with a standard verification, ordinary floor",
                result.in_floors(ordinary, "standard"),
                MOST_VERIFIED,
                " × floor + fixed",
            ),
            _target(result, "client CPU without the fixed", result.cpu_above_fixed, MOST_CPU, " µs a document"),
            _target(result, "peak memory", result.rss, MOST_MEMORY, " MB"),
            _target(
                result, "comprehensive verification adds", result.added_in_migrations("comprehensive"), MOST_COMPREHENSIVE, " × migrate"
            ),
        )
    ]
    least, most = min(results, key=_documents), max(results, key=_documents)
    if least is not most:
        lines.append(_target(most, f"peak memory against {least.documents:,}", most.rss / least.rss, MOST_GROWTH, " ×"))
    return "Targets (set for 100,000 documents on two cores):\n\n" + "\n".join(lines)


def _documents(result: Result) -> int:
    return result.documents


def _target(result: Result, name: str, figure: float, most: float, unit: str) -> str:
    verdict = "met" if figure <= most else "MISSED"
    return f"- {verdict}: {result.documents:,} documents, {name}: {figure:.4g}{unit} (at most {most:g})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))
