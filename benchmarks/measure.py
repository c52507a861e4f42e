"""Runs a command and measures it together with every process it starts: wall clock, processor time, memory."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

SECONDS_A_LOOK = 0.1
# To find the processes costs 3 ms, to count shared pages 5 ms a process (200 MB, Linux 6.18): at every look both would
# take a tenth of a core from what is measured.
LOOKS_A_CLOSE_LOOK = 5


class CommandFailed(Exception):
    """A measured command ended with an error."""


@dataclass(frozen=True)
class Usage:
    """What a command and its descendants took: seconds, and bytes at the highest of all looks."""

    wall: float
    cpu: float
    rss: int
    pss: int
    """As rss, but a page that several processes share counts once; 0 where the system does not say (only Linux does)."""


def run_measured(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Usage:
    """Runs the command in `directory`; what it prints goes to `output.log` there."""
    log = directory / "output.log"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    watch = MemoryWatch(process.pid)
    try:
        with watch:
            # Its usage holds that of the children it waited for, and Firelift waits for all its workers.
            _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}: {log.read_text(errors='replace')[-3000:]}")
    return Usage(wall, used.ru_utime + used.ru_stime, watch.rss, watch.pss)


class MemoryWatch:
    """A thread that looks at the memory of a process and its descendants until told to stop."""

    def __init__(self, pid: int) -> None:
        self.rss, self.pss = 0, 0
        self._root = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch")

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        looks = 0
        processes: list[psutil.Process] = []
        while not self._stop.wait(SECONDS_A_LOOK):
            if looks % LOOKS_A_CLOSE_LOOK == 0:
                processes = family(self._root)
                self.pss = max(self.pss, sum(map(proportional, processes)))
            self.rss = max(self.rss, sum(map(resident, processes)))
            looks += 1


def family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def proportional(process: psutil.Process) -> int:
    try:
        return int(getattr(process.memory_full_info(), "pss", 0))
    except psutil.Error:
        return 0
