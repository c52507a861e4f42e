"""`firelift demo`: with an emulator or without, and what `--keep` tells people to type leads another shell to its servers."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from firelift.cli.demo import HOME
from firelift.run.workspace import REPORT
from tests.support.command_line import FIRELIFT, ONE_WORKER, PROGRAMS, Operator, Said

SETTINGS = ["FIRESTORE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "DATABASE_URL", "PGPASSFILE"]
LAST = f"  export {SETTINGS[-1]}="


@pytest.fixture
def somebody(prefect_api: str) -> Iterator[Operator]:
    """In a directory that the account can enter under which PostgreSQL runs where the tests run as root."""
    with TemporaryDirectory(dir="/tmp", prefix="firelift-demo-") as directory:
        Path(directory).chmod(0o711)
        yield Operator(Path(directory), {"PREFECT_API_URL": prefect_api})


@contextmanager
def demonstrated(somebody: Operator) -> Iterator[list[str]]:
    """The demo while it waits for Ctrl-C, as the lines that it has printed for people."""
    with somebody.start([FIRELIFT, "demo", "--keep"]) as process:
        try:
            yield list(printed_by(process))
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
    assert process.returncode == 0


def printed_by(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stderr is not None
    for line in process.stderr:
        yield line
        if line.startswith(LAST):
            return
    raise AssertionError(f"the demo has ended with {process.wait()}")


def typed(somebody: Operator, exports: list[str], *arguments: str) -> Said:
    """A command in another shell and directory, after the lines that were printed, as they were."""
    another = Operator(somebody.directory / "another", ONE_WORKER)
    return another.run(["sh", "-e", "-c", "".join(exports) + shlex.join([FIRELIFT, *arguments])])


def test_the_settings_that_the_kept_demo_prints_lead_to_its_servers_and_hold_no_password(somebody: Operator) -> None:
    with demonstrated(somebody) as lines:
        exports = [line for line in lines if line.startswith("  export ")]
        assert [line.split("=")[0].split()[1] for line in exports] == SETTINGS
        password = (somebody.here / HOME / "postgres" / "pgpass").read_text().strip().rpartition(":")[2]
        assert len(password) > 16
        assert password not in "".join(lines)

        said = typed(somebody, exports, "verify", "--against", "firestore", "--verification-level", "basic", "--json")
        assert said.code == 0, said.err
        verified = json.loads(said.out)
        report = json.loads((somebody.here / HOME / "migration" / REPORT).read_text())
        assert (verified["passed"], {run["migration_id"] for run in verified["runs"]}) == (True, {report["migrationId"]})
        assert sum(run["documents"] for run in verified["runs"]) == report["statistics"]["documentsRead"] > 0

    gone = typed(somebody, exports, "verify", "--against", "firestore")
    assert "PostgreSQL cannot be reached" in gone.error


def test_without_an_emulator_on_the_machine_the_demo_serves_its_sample_itself(somebody: Operator) -> None:
    without = somebody.with_(PATH=str(PROGRAMS), **ONE_WORKER)
    said = without.firelift("demo")
    assert said.code == 0, said.err
    assert "There is no Firestore emulator on this machine: Firelift's own server" in said.err
    report = json.loads((somebody.here / HOME / "migration" / REPORT).read_text())
    assert report["statistics"]["documentsRead"] > 3000
    assert report["verification"]["passed"]


def test_an_emulator_that_is_asked_for_is_no_matter_of_choice(somebody: Operator) -> None:
    said = somebody.with_(FIRESTORE_EMULATOR_JAR="/nowhere.jar").firelift("demo")
    assert said.code == 2
    assert said.error.startswith("error: There is no Firestore emulator on this machine (")
    assert "/nowhere.jar" in said.error
