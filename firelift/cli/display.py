"""Shows a run's progress from its status: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from firelift.formatting import count, duration, shortened
from firelift.run.status_files import HEARTBEAT
from firelift.run.workspace import STATUS, Workspace

MOST_COLLECTIONS = 15
EVERY_PLAIN = 10.0
"""Seconds between two plain lines within a phase."""
EVERY_LIVE = 0.5
SILENT = 12 * HEARTBEAT
"""Seconds without a word after which a run on another host is taken for dead."""

_MARKS: Mapping[str, tuple[str, str]] = {
    "pending": ("·", "dim"),
    "running": ("▶", "bold cyan"),
    "completed": ("✓", "green"),
    "skipped": ("-", "dim"),
    "failed": ("✗", "bold red"),
}
_COLOURS: Mapping[str, str] = {"completed": "bold green", "failed": "bold red", "stopped": "bold yellow"}


class Screen(Protocol):
    """Where a status is shown."""

    def show(self, status: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


def is_over(status: Mapping[str, Any]) -> bool:
    return status.get("status") != "in_progress"


def is_dead(status: Mapping[str, Any], at: datetime | None = None) -> bool:
    """Whether the process of an unfinished run is gone: not there on this host, or silent for a minute on another.

    On its own host it may be silent: Prefect's first start takes up to three minutes.
    """
    if is_over(status) or "process" not in status:
        return False
    process = status["process"]
    if process["host"] == platform.node():
        return not _is_running(process["pid"])
    updated = datetime.fromisoformat(status["updatedAt"])
    return ((at or datetime.now(UTC)) - updated).total_seconds() > SILENT


def render(status: Mapping[str, Any], width: int = 100) -> RenderableType:
    """The whole run as a picture for a terminal."""
    if "progress" not in status:
        return Text(f"{status['migrationId']}: starting")
    phases = Table.grid(padding=(0, 1))
    for name, phase in status["progress"]["phases"].items():
        mark, style = _MARKS[phase["state"]]
        phases.add_row(Text(mark, style), Text(name, style), _bar(phase), *_figures(phase))
    parts: list[RenderableType] = [_headline(status), phases]
    current = status["progress"]["phases"].get(status["currentPhase"] or "")
    if current and current["collections"]:
        parts += ["", _collections(current["collections"], max(20, width - 75))]
    return Group(*parts, *_notes(status))


def headline(status: Mapping[str, Any]) -> str:
    """The run in one line."""
    progress = status.get("progress", {})
    percent = progress.get("percent")
    facts = [str(status.get("status", "?")).replace("_", " ")]
    if status.get("currentPhase"):
        facts.append(str(status["currentPhase"]))
    if percent is not None:
        facts.append(f"{percent:.0f} %")
    return f"{status['migrationId']}: {', '.join(facts)}"


class PlainLines:
    """A line at every change of a phase and, within one, every ten seconds."""

    def __init__(self, write: Callable[[str], None], every: float = EVERY_PLAIN, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._every, self._clock = write, every, clock
        self._states: dict[str, str] = {}
        self._last = clock()
        self._warned = 0

    def show(self, status: Mapping[str, Any]) -> None:
        phases: Mapping[str, Any] = status.get("progress", {}).get("phases", {})
        for name, phase in phases.items():
            if self._states.get(name, "pending") != phase["state"]:
                self._say(phase_line(name, phase))
            self._states[name] = phase["state"]
        for name, phase in phases.items():
            if phase["state"] == "running" and self._clock() - self._last >= self._every:
                self._say(phase_line(name, phase))
        self._messages(status)

    def close(self) -> None:
        pass

    def _messages(self, status: Mapping[str, Any]) -> None:
        warnings = status.get("warnings", [])
        for warning in warnings[self._warned :]:
            self._say(f"warning: {shortened(warning['message'], 500)}")
        self._warned = len(warnings)

    def _say(self, line: str) -> None:
        self._last = self._clock()
        self._write(line)


class LivePicture:
    """A picture that is drawn anew in place. `transient`: gone when closed."""

    def __init__(self, console: Console, transient: bool = False) -> None:
        self._console = console
        self._live = Live(console=console, transient=transient, auto_refresh=False, redirect_stdout=False, vertical_overflow="crop")
        self._live.start()

    def show(self, status: Mapping[str, Any]) -> None:
        self._live.update(render(status, self._console.width), refresh=True)

    def close(self) -> None:
        self._live.stop()


def screen_for(console: Console, transient: bool = False, plain: bool = False) -> Screen:
    """Bars for a terminal, lines for everything else."""
    if console.is_terminal and not plain:
        return LivePicture(console, transient)
    return PlainLines(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


def follow(workspace: Workspace, screen: Screen, stop: threading.Event | None = None, every: float = EVERY_LIVE) -> dict[str, Any] | None:
    """Show the run until it is over, its process is gone or `stop` is set; returns the last status."""
    stop = stop or threading.Event()
    status: dict[str, Any] | None = None
    try:
        while True:
            is_last = stop.is_set()
            status = workspace.read_json(STATUS)
            if status is not None:
                screen.show(status)
            if is_last or (status is not None and (is_over(status) or is_dead(status))):
                return status
            stop.wait(every)
    finally:
        screen.close()


def phase_line(name: str, phase: Mapping[str, Any]) -> str:
    """A phase in one plain line."""
    figures = [text.plain for text in _figures(phase) if text.plain]
    return ", ".join([f"{name} {phase['state']}", *figures])


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """The whole status as plain text: what `firelift status` prints."""
    lines = [headline(status), *_difference(status.get("statistics", {}))]
    for name, phase in status.get("progress", {}).get("phases", {}).items():
        lines.append(f"  {phase_line(name, phase)}")
        if phase["state"] in ("running", "failed"):
            lines += [f"    {phase_line(shortened(path, 60) + ':', {'state': '', **one})}" for path, one in phase["collections"].items()]
    lines += [f"  warning: {shortened(warning['message'], 500)}" for warning in status.get("warnings", [])]
    lines += [f"  error: {shortened(error['message'], 2000)}" for error in status.get("errors", [])]
    if is_dead(status):
        lines.append("  its process is gone: continue with `firelift migrate --resume`")
    return lines


def _difference(statistics: Mapping[str, Any]) -> list[str]:
    """What an incremental run has found, once it knows."""
    if "keysCompared" not in statistics:
        return []
    words = {"new": "new", "changed": "changed", "gone": "gone", "keysCompared": "keys compared"}
    return ["  " + ", ".join(f"{count(statistics[name])} {word}" for name, word in words.items() if name in statistics)]


def _headline(status: Mapping[str, Any]) -> Text:
    line = Text(headline(status), _COLOURS.get(status["status"], "bold"), overflow="ellipsis", no_wrap=True)
    if status["progress"]["etaSeconds"]:
        line.append(f", this phase {duration(status['progress']['etaSeconds'])} to go", "not bold")
    return line


def _bar(progress: Mapping[str, Any]) -> RenderableType:
    if progress.get("state") == "pending":
        return Text("")
    percent = progress["percent"]
    if progress.get("state") == "running" and percent == 0 and _expected(progress) is None:
        return ProgressBar(total=None, pulse=True, width=20)
    return ProgressBar(total=100, completed=percent or 0, width=20)


def _expected(progress: Mapping[str, Any]) -> int | None:
    unit = _unit(progress)
    expected: int | None = progress[unit]["expected"]
    return expected


def _unit(progress: Mapping[str, Any]) -> str:
    documents, rows = progress["documents"], progress["rows"]
    return "documents" if documents["done"] or documents["expected"] is not None or not (rows["done"] or rows["expected"]) else "rows"


def _figures(progress: Mapping[str, Any]) -> tuple[Text, Text, Text]:
    """Done of expected, rate, time to go; empty where there is nothing to say."""
    unit = _unit(progress)
    done, expected = progress[unit]["done"], progress[unit]["expected"]
    if not done and expected is None:
        return Text(""), Text(""), Text("")
    of = "" if expected is None or (expected == done) else f" of {count(expected)}"
    rate = f"{count(progress['rate'])}/s" if progress["rate"] else ""
    eta = progress["etaSeconds"]
    left = f"{duration(eta)} to go" if eta else ""
    return Text(f"{count(done)}{of} {unit}"), Text(rate), Text(left, "dim")


def _collections(collections: Mapping[str, Mapping[str, Any]], width: int) -> RenderableType:
    """The collections being worked on first, then the biggest."""
    ranked = sorted(collections.items(), key=lambda item: (_is_done(item[1]), not _has_begun(item[1]), -_weight(item[1])))
    grid = Table.grid(padding=(0, 1))
    for path, progress in ranked[:MOST_COLLECTIONS]:
        style = "green" if _is_done(progress) else ""
        grid.add_row(Text("   " + shortened(path, width), style), _bar(progress), *_figures(progress))
    if len(ranked) > MOST_COLLECTIONS:
        rest = ranked[MOST_COLLECTIONS:]
        done = sum(_is_done(progress) for _, progress in rest)
        grid.add_row(Text(f"   … and {count(len(rest))} more, {count(done)} of them done", "dim"))
    return grid


def _is_done(progress: Mapping[str, Any]) -> bool:
    return bool(progress["percent"] == 100.0)


def _has_begun(progress: Mapping[str, Any]) -> bool:
    return bool(progress[_unit(progress)]["done"])


def _weight(progress: Mapping[str, Any]) -> int:
    return _expected(progress) or progress[_unit(progress)]["done"]


def _notes(status: Mapping[str, Any]) -> list[RenderableType]:
    notes: list[RenderableType] = [Text(f"warning: {shortened(one['message'], 300)}", "yellow") for one in status["warnings"][-3:]]
    if status["status"] == "failed":
        notes += [Text(f"error: {shortened(one['message'], 500)}", "red") for one in status["errors"][-1:]]
    return notes


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
