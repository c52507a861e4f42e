"""A unit of work needs nothing but plain arguments, the run's storage and the target: any process can carry it out."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firelift import workers
from firelift.local.postgres import PostgresServer
from firelift.run.workspace import LOG, STATUS
from tests.support.whole_way import Things, arrived

DOCUMENTS: Things = {
    **{f"users/{n}": {"name": f"User {n}"} for n in range(5)},
    **{f"users/{n}/orders/1": {"total": n} for n in range(5)},
    "teams/a": {"n": 1},
}

# On standard input the function with its arguments; on standard output what it reports and returns, and the files that it opened.
ELSEWHERE = """
import pickle, sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
function, arguments = pickle.load(sys.stdin.buffer)
reported = []
returned = function(*arguments, reported.append)
sys.stdout.buffer.write(pickle.dumps((returned, reported, opened)))
"""


class Elsewhere:
    """In place of a worker: each call in a process of its own, in another directory, that ends with it."""

    is_free = True
    directory: Path
    calls: list[tuple[str, list[Any], list[str]]]

    def __init__(self, modules: object = ()) -> None:
        self.process = subprocess.Popen(["true"])

    def call(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        report: Callable[[Any], None],
        begun: Callable[[], None] = lambda: None,
        divided: Callable[[Any], None] = lambda part: None,
    ) -> Any:
        given = pickle.dumps((function, arguments))
        done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=given, capture_output=True, check=False, cwd=self.directory)
        assert done.returncode == 0, done.stderr.decode()
        returned, reported, opened = pickle.loads(done.stdout)
        for progress in reported:
            report(progress)
        self.calls.append((function.__name__, reported, opened))
        return returned

    def ask_to_divide(self) -> None:
        """It hears nothing while it works, and keeps its work."""

    def end(self) -> None:
        self.process.wait()


def test_every_unit_of_a_migration_can_be_carried_out_by_a_process_that_knows_nothing_of_the_run(
    emulator_host: str, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Elsewhere, "directory", tmp_path, raising=False)
    monkeypatch.setattr(Elsewhere, "calls", [], raising=False)
    monkeypatch.setattr(workers, "Worker", Elsewhere)
    monkeypatch.setenv("PYTHONPATH", str(Path(workers.__file__).parents[1]))
    with arrived(emulator_host, postgres, tmp_path / "workspace", DOCUMENTS) as arrival:
        arrival.check()
    assert {name for name, _, _ in Elsewhere.calls} == {"survey", "cut", "extract_range", "transform_chunk", "load", "compare_chunk"}
    assert {name for name, reported, _ in Elsewhere.calls if reported} == {"extract_range", "compare_chunk"}
    opened = [file for _, _, files in Elsewhere.calls for file in files if str(arrival.run) in file]
    assert any("archive" in file for file in opened)
    assert [file for file in opened if file.endswith((STATUS, LOG, "lock")) or "/receipts/" in file] == []
