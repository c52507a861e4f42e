"""Progress is bars on a terminal and lines elsewhere, made from the status alone."""

from __future__ import annotations

import io
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from firelift.cli.display import MOST_COLLECTIONS, PlainLines, follow, is_dead, render, screen_for, status_lines
from firelift.errors import FireliftError
from firelift.run.status import Status
from firelift.run.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, "migration-1").create()


@pytest.fixture
def status(workspace: Workspace) -> Status:
    return Status.open(workspace)


def drawn(status: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=110, force_terminal=False)
    console.print(render(status, 110))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def extracting(status: Status, collections: int = 1) -> dict[str, Any]:
    status.start_phase("extraction")
    for number in range(collections):
        status.expect("extraction", f"collection{number}", documents=1000 + number)
    status.advance("extraction", "collection0", documents=500)
    return status.data()


def test_the_picture_shows_phases_and_collections(status: Status) -> None:
    text = drawn(extracting(status))
    for said in ("migration-1: in progress, extraction", "pre_validation", "collection0", "500 of 1,000 documents", "/s"):
        assert said in text


def test_many_collections_are_summed_up(status: Status) -> None:
    text = drawn(extracting(status, 100))
    assert sum("collection" in line for line in text.splitlines()) == MOST_COLLECTIONS
    assert "collection0" in text
    assert "and 85 more, 0 of them done" in text


def test_foreign_names_cannot_command_the_terminal(status: Status) -> None:
    status.start_phase("extraction")
    status.advance("extraction", "a\x1b[2Jb\nc [red]d", documents=5)
    status.warn("bad \x1b[2J [bold]news")
    data = status.data()
    for text in (drawn(data), "\n".join(status_lines(data))):
        assert "\x1b" not in text
        assert "[red]d" in text
        assert "[bold]news" in text


def test_a_placeholder_is_shown_too() -> None:
    before = {"migrationId": "migration-1", "status": "in_progress"}
    assert "migration-1" in drawn(before)
    assert status_lines(before) == ["migration-1: in progress"]


def test_plain_lines_come_with_phases_and_every_ten_seconds(status: Status) -> None:
    lines: list[str] = []
    clock = iter(float(second) for second in range(1000))
    screen = PlainLines(lines.append, clock=lambda: next(clock))
    data = extracting(status)
    for _ in range(25):
        screen.show(data)
    assert lines[0].startswith("extraction running, 500 of 1,000 documents")
    assert len(lines) == 3
    status.finish_phase("extraction", {})
    status.warn("odd")
    screen.show(status.data())
    assert lines[3].startswith("extraction completed, 500")
    assert lines[4] == "warning: odd"


def test_following_ends_with_the_run(status: Status, workspace: Workspace) -> None:
    lines: list[str] = []
    follower = threading.Thread(target=follow, args=(workspace, PlainLines(lines.append)), kwargs={"every": 0.01})
    follower.start()
    status.start_phase("import")
    status.finish_phase("import", {})
    status.complete()
    follower.join(timeout=30)
    assert not follower.is_alive()
    assert "import completed" in lines


def test_following_ends_when_told_to(status: Status, workspace: Workspace) -> None:
    stop = threading.Event()
    stop.set()
    found = follow(workspace, PlainLines(print), stop)
    assert found is not None
    assert found["migrationId"] == status.data()["migrationId"]


def test_a_dead_process_is_seen(status: Status) -> None:
    data = status.data()
    assert not is_dead(data)
    assert is_dead({**data, "process": {**data["process"], "pid": dead_pid()}})
    assert "process is gone" in "\n".join(status_lines({**data, "process": {**data["process"], "pid": dead_pid()}}))


def test_on_another_host_silence_tells(status: Status) -> None:
    data = {**status.data(), "process": {"host": "elsewhere", "pid": 1}}
    assert not is_dead(data)
    assert is_dead(data, at=datetime.now(UTC) + timedelta(minutes=5))


def test_a_failure_is_shown_with_its_error(status: Status) -> None:
    status.start_phase("extraction")
    status.fail(FireliftError(collection="users"))
    assert "error: Something went wrong (collection: users)" in drawn(status.data())


def test_only_a_terminal_gets_the_picture() -> None:
    assert isinstance(screen_for(Console(file=io.StringIO())), PlainLines)
    assert isinstance(screen_for(Console(file=io.StringIO(), force_terminal=True), plain=True), PlainLines)


def dead_pid() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid
