"""Runs all tests in several processes: most of the time each waits for a server, a migration or a death.

`python -m tests.side_by_side [JOBS] [what pytest takes]`. A file of tests is taken by whichever process comes to it first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from types import FrameType

import pytest

CLAIMS, NUMBER = "FIRELIFT_TESTS_TAKEN", "FIRELIFT_TESTS_PROCESS"

# Together, and the longest first, since they share servers and a run that nothing happened to.
TIERS = ("faults", "unit", "property", "integration", "acceptance")


def ordered(items: Iterable[pytest.Item], tiers: Path) -> list[pytest.Item]:
    """As this process comes to them: every other one begins at the end, so that two do not start the servers of the same tier."""
    rank = {tier: number for number, tier in enumerate(TIERS)}
    way = -1 if int(os.environ[NUMBER]) % 2 else 1
    files = [list(of) for _, of in groupby(items, key=lambda item: item.path)]
    by_tier = sorted(files, key=lambda of: rank[of[0].path.relative_to(tiers).parts[0]])
    return [item for of in by_tier[::way] for item in of]


def taken(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Those whose file no other process has taken; a file is taken when its first test is asked for."""
    ours: dict[Path, bool] = {}
    for item in items:
        if item.path not in ours:
            ours[item.path] = _take(item.path)
        if ours[item.path]:
            yield item


def _take(file: Path) -> bool:
    try:
        (Path(os.environ[CLAIMS]) / str(file).replace(os.sep, "|")).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def run_taken(session: pytest.Session) -> None:
    """What pytest's own loop does, for the tests that are this process's."""
    mine, ran = taken(session.items), 0
    item = next(mine, None)
    while item is not None:
        after = next(mine, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item, ran = after, ran + 1
    (Path(os.environ[CLAIMS]) / f"{os.environ[NUMBER]}.ran").write_text(f"{ran} {len(session.items)}")


def main(arguments: list[str]) -> int:
    jobs = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else max(1, min(4, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory(prefix="firelift-tests-") as claims:
        running = [_start(number, claims, arguments) for number in range(jobs)]
        signal.signal(signal.SIGTERM, _exit)
        try:
            speaking = [threading.Thread(target=_pass_on, args=(process,)) for process in running]
            for thread in speaking:
                thread.start()
            codes = {process.wait() for process in running}
            for thread in speaking:
                thread.join()
            counts = [file.read_text().split() for file in Path(claims).glob("*.ran")]
        finally:
            for process in running:
                process.terminate()
    if codes - {pytest.ExitCode.OK}:
        return max(codes)
    ran, found = sum(int(ran) for ran, _ in counts), max(int(found) for _, found in counts)
    print(f"{ran} of {found} tests in {jobs} processes")
    return int(pytest.ExitCode.OK if ran == found else pytest.ExitCode.INTERNAL_ERROR)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _start(number: int, claims: str, arguments: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = os.environ | {CLAIMS: claims, NUMBER: str(number), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment)


def _pass_on(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
