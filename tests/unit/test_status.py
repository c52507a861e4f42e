"""The status of a run is counted by many threads, read by anybody, and goes on after a crash."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from firelift.errors import FireliftError
from firelift.files import DiskFull
from firelift.receipts import Validated
from firelift.run.log import Log
from firelift.run.progress import PHASES
from firelift.run.redact import RedactedStream, clean, redact
from firelift.run.status import Status
from firelift.run.workspace import CHECKPOINT, LOG, STATUS, Workspace

SECRET = "correct-horse-battery"


class Broken(FireliftError):
    """The stream broke."""

    remedy = "Run again."


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", "migration-1").create()


@pytest.fixture
def log(workspace: Workspace) -> Iterator[Log]:
    log = Log(workspace, [SECRET])
    yield log
    log.close()


@pytest.fixture
def status(workspace: Workspace, log: Log) -> Iterator[Status]:
    with Status.open(workspace, "full", [SECRET], log) as status:
        yield status


def extraction_of(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["progress"]["phases"]["extraction"]
    return found


@pytest.mark.usefixtures("status")
def test_a_new_run_has_six_pending_phases(workspace: Workspace) -> None:
    data = workspace.status()
    assert tuple(data["progress"]["phases"]) == PHASES
    assert {phase["state"] for phase in data["progress"]["phases"].values()} == {"pending"}
    assert (data["migrationId"], data["mode"], data["status"], data["currentPhase"]) == ("migration-1", "full", "in_progress", None)


def test_counts_show_done_expected_percent_and_rate(status: Status, workspace: Workspace) -> None:
    status.start_phase("extraction")
    status.expect("extraction", "users", documents=100)
    status.expect("extraction", "users/*/orders", documents=300)
    status.advance("extraction", "users", documents=50, bytes=1000)
    status.advance("extraction", "users/*/orders", documents=150)
    status.flush()
    phase = extraction_of(workspace.status())
    assert phase["documents"] == {"done": 200, "expected": 400}
    assert phase["percent"] == 50.0
    assert phase["bytes"] == 1000
    assert phase["rate"] > 0
    assert phase["etaSeconds"] >= 0
    assert phase["collections"]["users"]["documents"] == {"done": 50, "expected": 100}


def test_a_whole_of_which_a_part_is_not_known_is_not_known(status: Status) -> None:
    status.start_phase("extraction")
    status.expect("extraction", "users", documents=100)
    status.expect_unknown("extraction", "orders")
    status.advance("extraction", "users", documents=100)
    phase = extraction_of(status.data())
    assert phase["documents"] == {"done": 100, "expected": None}
    assert phase["etaSeconds"] is None
    assert phase["collections"]["orders"]["percent"] is None
    status.expect("extraction", "orders", documents=300)
    assert extraction_of(status.data())["documents"]["expected"] == 400


def test_rows_count_where_there_are_no_documents(status: Status) -> None:
    status.start_phase("import")
    status.expect("import", "users", rows=10)
    status.advance("import", "users", rows=5)
    assert status.data()["progress"]["phases"]["import"]["percent"] == 50.0


def test_an_empty_collection_is_done(status: Status) -> None:
    status.start_phase("extraction")
    status.expect("extraction", "none", documents=0)
    assert extraction_of(status.data())["collections"]["none"]["percent"] == 100.0


def test_many_threads_lose_no_document(status: Status) -> None:
    status.start_phase("extraction")

    def count(_: int) -> None:
        for _ in range(500):
            status.advance("extraction", "users", documents=1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert extraction_of(status.data())["documents"]["done"] == 4000


def test_a_collection_begun_again_is_not_counted_twice(status: Status) -> None:
    status.start_phase("extraction")
    status.advance("extraction", "users", documents=70)
    status.advance("extraction", "rooms", documents=5)
    status.restart_collection("extraction", "users")
    status.advance("extraction", "users", documents=100)
    assert extraction_of(status.data())["documents"]["done"] == 105


def test_the_checkpoint_names_the_last_completed_phase_and_keeps_its_result(status: Status, workspace: Workspace) -> None:
    status.start_phase("pre_validation")
    status.finish_phase("pre_validation", {"connectionsValid": True})
    status.start_phase("extraction")
    found = workspace.read_json(CHECKPOINT)
    assert found is not None
    assert datetime.fromisoformat(found.pop("timestamp")).tzinfo is not None
    assert found == {
        "migrationId": "migration-1",
        "lastCompletedPhase": "pre_validation",
        "migrationState": {
            "currentPhase": "extraction",
            "overallStatus": "in_progress",
            "results": {"pre_validation": {"connectionsValid": True}},
        },
    }


def test_a_run_goes_on_from_its_file(status: Status, workspace: Workspace) -> None:
    status.start_phase("pre_validation")
    status.finish_phase("pre_validation", {"x": 1})
    status.set_read_time("2026-11-22T10:30:00Z")
    status.start_phase("extraction")
    status.advance("extraction", "users", documents=70)
    status.fail(Broken(collection="users"))
    with Status.open(workspace, "full") as again:
        data = again.data()
        assert data["status"] == "in_progress"
        assert data["progress"]["phases"]["pre_validation"]["state"] == "completed"
        assert extraction_of(data)["state"] == "pending"
        assert extraction_of(data)["collections"]["users"]["documents"]["done"] == 70
        assert (data["readTime"], data["results"], data["lastCompletedPhase"]) == (
            "2026-11-22T10:30:00Z",
            {"pre_validation": {"x": 1}},
            "pre_validation",
        )
        assert data["startedAt"] == status.data()["startedAt"]
        again.start_phase("extraction")
        assert extraction_of(again.data())["documents"]["done"] == 0


def test_figures_are_counted_anew_after_going_on(status: Status, workspace: Workspace) -> None:
    status.add_statistics(residueRows=3)
    status.close()
    with Status.open(workspace) as again:
        again.start_phase("extraction")
        again.advance("extraction", "users", documents=5)
        assert again.data()["statistics"].items() >= {"documentsRead": 5, "residueRows": 3}.items()


def test_a_failure_says_where_what_and_the_way_out(status: Status, workspace: Workspace) -> None:
    status.start_phase("extraction")
    status.fail(Broken(collection="users", said=f"password {SECRET}"))
    data = workspace.status()
    assert (data["status"], data["currentPhase"], extraction_of(data)["state"]) == ("failed", "extraction", "failed")
    error = data["errors"][0]
    assert (error["type"], error["phase"], error["remedy"]) == ("Broken", "extraction", "Run again.")
    assert error["facts"]["collection"] == "users"


def test_a_stop_is_no_failure(status: Status, workspace: Workspace) -> None:
    status.start_phase("extraction")
    status.stop()
    assert workspace.status()["status"] == "stopped"
    assert not workspace.status()["errors"]


def test_a_completed_run_is_at_100_percent(status: Status, workspace: Workspace) -> None:
    status.skip_phase("verification", "switched off")
    status.complete()
    data = workspace.status()
    assert (data["status"], data["progress"]["percent"], data["currentPhase"]) == ("completed", 100.0, None)
    assert data["progress"]["phases"]["verification"]["state"] == "skipped"


def test_no_secret_reaches_a_file(status: Status, log: Log, workspace: Workspace) -> None:
    status.start_phase("extraction")
    status.warn(f"warned of {SECRET}")
    log.info("event", f"said {SECRET}", url=f"postgresql://u:{SECRET}@h/d", nested={"k": [SECRET]})
    status.add_statistics(what=SECRET)
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        status.fail(error)
    status.finish_phase("extraction", {"said": SECRET})
    status.close()
    files = [file for file in workspace.working_dir.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]


def test_the_log_is_an_array_of_entries_with_facts(log: Log, workspace: Workspace) -> None:
    log.info("chunk_read", "read a chunk", phase="extraction", documents=5, path=Path("/x"), level="mine", ratio=float("nan"))
    try:
        raise Broken(collection="users")
    except Broken as error:
        log.error(error, phase="extraction")
    log.flush()
    first, second = workspace.read_json(LOG)
    assert first.items() >= {"level": "info", "phase": "extraction", "event": "chunk_read", "documents": 5, "path": "/x"}.items()
    assert set(first) >= {"timestamp", "message"}
    assert (second["level"], second["event"], second["collection"]) == ("error", "Broken", "users")
    assert "Traceback" in second["traceback"]


def test_a_log_is_continued(log: Log, workspace: Workspace) -> None:
    log.info("one", "1")
    log.close()
    again = Log(workspace)
    again.info("two", "2")
    again.close()
    assert [entry["event"] for entry in workspace.read_json(LOG)] == ["one", "two"]


def test_changes_reach_the_file_by_themselves(status: Status, workspace: Workspace) -> None:
    status.start_phase("extraction")
    status.advance("extraction", "users", documents=7)
    assert eventually(lambda: extraction_of(workspace.status())["documents"]["done"] == 7)


def test_readers_always_find_valid_json(status: Status, log: Log, workspace: Workspace) -> None:
    done = threading.Event()
    reads: dict[str, int] = {STATUS: 0, LOG: 0}
    wrong: list[Exception] = []

    def read(name: str) -> None:
        while not done.is_set() or reads[name] < 10:
            try:
                json.loads((workspace.working_dir / name).read_bytes())
            except Exception as error:
                wrong.append(error)
                return
            reads[name] += 1

    readers = [threading.Thread(target=read, args=(name,)) for name in reads]
    for reader in readers:
        reader.start()
    for number in range(60):
        status.start_phase("extraction")
        status.advance("extraction", f"collection {number} \ud800", documents=number)
        log.info("event", "x" * number)
        log.flush()
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert min(reads.values()) >= 10


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from firelift.run.status import Status
from firelift.files import DiskFull
from firelift.run.workspace import CHECKPOINT, Workspace
workspace = Workspace(Path(sys.argv[1]), "full").create()
status = Status.open(workspace)
status.start_phase("extraction")
try:
    while True:
        workspace.write_json(f"archive/{id(object())}-{len(list(workspace.archive.iterdir()))}", "x" * 50_000)
except DiskFull as error:
    status.fail(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_still_written_down(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)], capture_output=True, check=False).returncode:
        pytest.skip("no mounting here")
    try:
        subprocess.run([sys.executable, "-c", FULL_DISK, str(mounted / "workspace")], check=True, timeout=60)
        data = Workspace.latest(mounted / "workspace").status()
        assert data["status"] == "failed"
        assert data["errors"][0]["type"] == "DiskFull"
    finally:
        subprocess.run(["umount", str(mounted)], check=False)


def test_a_full_disk_error_pickles() -> None:
    assert str(pickle.loads(pickle.dumps(DiskFull(path="/x")))) == str(DiskFull(path="/x"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a {SECRET} b", "a *** b"),
        ("postgresql://u:whatever@h/d", "postgresql://***@h/d"),
        ("host=h password=whatever dbname=d", "host=h password=*** dbname=d"),
        ("https://host:443/path", "https://host:443/path"),
        ("correct%2Dhorse", "correct%2Dhorse"),
    ],
)
def test_secrets_are_masked(text: str, shown: str) -> None:
    assert redact(text, [SECRET]) == shown


def test_a_secret_is_masked_in_every_spelling() -> None:
    secret = 'a"b\\c d/e@f12345'
    for spelled in (secret, json.dumps({"k": secret}), repr({"k": secret}), "a%22b%5Cc%20d%2Fe%40f12345"):
        assert "***" in redact(spelled, [secret])
        assert "12345" not in redact(spelled, [secret])


def test_a_short_password_is_masked_as_a_word_only() -> None:
    assert redact("postgres: use postgresql://h", ["postgres"]) == "***: use postgresql://h"


def test_what_json_has_no_word_for_becomes_text() -> None:
    assert clean({1: float("inf"), "p": Path("/x"), "t": (1, {2})}) == {"1": "inf", "p": "/x", "t": [1, [2]]}


def test_a_masked_stream_learns_secrets_later(tmp_path: Path) -> None:
    secrets: list[str] = []
    with (tmp_path / "out").open("w") as file:
        stream = RedactedStream(file, secrets)
        secrets.append(SECRET)
        print(f"x {SECRET}", file=stream)
    assert (tmp_path / "out").read_text() == "x ***\n"


def eventually(holds: Callable[[], bool]) -> bool:
    waiting = threading.Event()
    return any(holds() or waiting.wait(0.05) for _ in range(200))


def test_what_an_earlier_attempt_got_done_counts_and_says_nothing_of_the_rate(status: Status) -> None:
    status.start_phase("extraction")
    status.expect("extraction", "users", documents=100)
    for _ in range(2):
        status.set_counts("extraction", "users", documents=100, bytes=7)
    shown = extraction_of(status.data())
    assert shown["documents"] == {"done": 100, "expected": 100}
    assert (shown["bytes"], shown["percent"], shown["rate"]) == (7, 100.0, None)
    assert shown["collections"]["users"]["documents"]["done"] == 100


def test_the_rate_is_never_below_zero_when_a_collection_is_begun_again(status: Status) -> None:
    status.start_phase("import")
    status.advance("import", "users", rows=50)
    status.restart_collection("import", "users")
    status.advance("import", "users", rows=10)
    shown = status.data()["progress"]["phases"]["import"]
    assert shown["rows"]["done"] == 10
    assert (shown["rate"] or 0) >= 0


def test_of_collections_counted_together_only_the_sum_is_expected_until_they_are_read(workspace: Workspace) -> None:
    with Status.open(workspace) as status:
        status.start_phase("extraction")
        status.expect("extraction", "users", documents=10)
        status.expect_of_all("extraction", "a … c (3 collections)", 30)
        status.advance("extraction", "a", documents=5)
        phase = extraction_of(status.data())
        assert phase["documents"] == {"done": 5, "expected": 40}
        assert phase["collections"]["a"]["documents"] == {"done": 5, "expected": None}
        for name, documents in {"a": 5, "b": 20, "c": 5}.items():
            status.set_counts("extraction", name, documents=documents)
            status.expect("extraction", name, documents=documents)
        status.expect_of_all("extraction", "a … c (3 collections)", 0)
        phase = extraction_of(status.data())
        assert phase["documents"] == {"done": 30, "expected": 40}
        assert phase["collections"]["b"]["percent"] == 100.0


def test_what_pre_validation_found_is_spelled_as_in_the_checkpoint_s_contract() -> None:
    found = Validated(read_time="2026-01-01T00:00:00Z", roots=(), documents=0).model_dump(mode="json")
    assert found["connectionsValid"] is True
    assert not [name for name in found if "connections_" in name]
