"""A run's directory is private, whole at any moment, and the latest one is linked at the top."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firelift.files import DiskFull, WorkingDirUnusable, storage_errors
from firelift.run.workspace import LATEST, STATUS, NoSuchRun, NotOurDirectory, Workspace, new_migration_id


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_an_id_reads_like_the_original_s() -> None:
    assert re.fullmatch(r"migration-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z-[a-z0-9]{6}", new_migration_id())


@pytest.mark.usefixtures("umask")
def test_directories_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "workspace"
    Workspace(root, "one").create().write_json("more.json", {})
    found = [path for path in (root, *root.rglob("*")) if not path.is_symlink()]
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert {mode(path) for path in found if path.is_file()} == {0o600}


def test_an_empty_directory_that_was_there_becomes_private(tmp_path: Path) -> None:
    root = tmp_path / "made-by-hand"
    root.mkdir(mode=0o755)
    Workspace(root, "one").create()
    assert mode(root) == 0o700


def test_a_directory_with_other_things_in_it_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    tmp_path.chmod(0o755)
    Workspace(tmp_path, "one").create()
    assert mode(tmp_path) == 0o755
    assert mode(tmp_path / "runs") == 0o700


DIRECTORIES = (Path(), Path("runs"), Path("runs", "one"), Path("runs", "one", "archive"))
STRANGER = 12345


def entrances(root: Path) -> list[Callable[[], object]]:
    """Every way by which a run comes to write there, or to believe what stands there."""
    workspace = Workspace(root, "one")
    return [workspace.create, lambda: workspace.make_private("archive")]


@pytest.mark.parametrize("directory", DIRECTORIES)
@pytest.mark.parametrize("rights", [0o770, 0o720, 0o707, 0o702, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, directory: Path, rights: int) -> None:
    Workspace(tmp_path, "one").create()
    (tmp_path / directory / "planted").touch()
    (tmp_path / directory).chmod(rights)
    for enter in entrances(tmp_path):
        with pytest.raises(NotOurDirectory, match=rf"its mode is {rights:04o}.*chmod go-w.*--working-dir") as caught:
            enter()
        assert caught.value.exit_code == 2
    assert mode(tmp_path / directory) == rights


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_a_directory_of_another_user_is_refused_also_by_root(tmp_path: Path, directory: Path) -> None:
    (tmp_path / directory).mkdir(parents=True, exist_ok=True)
    os.chown(tmp_path / directory, STRANGER, -1)
    for enter in entrances(tmp_path):
        with pytest.raises(NotOurDirectory, match=f"belongs to user {STRANGER}"):
            enter()


@pytest.mark.parametrize("directory", DIRECTORIES[1:])
def test_a_link_to_elsewhere_is_refused(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    link = tmp_path / "work" / directory
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    for enter in entrances(tmp_path / "work"):
        with pytest.raises(NotOurDirectory, match=r"it is a link to .*elsewhere"):
            enter()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_working_directory_may_be_a_link_of_our_own(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "disk")
    assert Workspace(tmp_path / "work", "one").create().status()["migrationId"] == "one"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
def test_a_working_directory_that_is_somebody_else_s_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "disk")
    os.chown(tmp_path / "work", STRANGER, -1, follow_symlinks=False)
    with pytest.raises(NotOurDirectory, match="it is a link"):
        Workspace(tmp_path / "work", "one").create()


def test_the_latest_run_is_one_below_runs(tmp_path: Path) -> None:
    (tmp_path / STATUS).symlink_to("runs/../migration-status.json")
    with pytest.raises(NoSuchRun):
        Workspace.latest(tmp_path)


def test_all_six_are_there_from_the_start_and_valid(tmp_path: Path) -> None:
    Workspace(tmp_path, "one").create()
    for name in LATEST:
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).exists()
        if name.endswith(".json"):
            json.loads((tmp_path / name).read_text())


def test_the_top_shows_the_latest_run(tmp_path: Path) -> None:
    Workspace(tmp_path, "one").create()
    second = Workspace(tmp_path, "two").create()
    assert Workspace.latest(tmp_path) == second
    assert json.loads((tmp_path / STATUS).read_text())["migrationId"] == "two"
    assert Workspace.of(tmp_path, "one").status()["migrationId"] == "one"


def test_creating_again_keeps_what_is_there(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "one").create()
    workspace.write_json(STATUS, {"migrationId": "one", "status": "failed"})
    assert workspace.create().status()["status"] == "failed"


@pytest.mark.parametrize("migration_id", [None, "other"])
def test_no_run_is_a_clear_error(tmp_path: Path, migration_id: str | None) -> None:
    with pytest.raises(NoSuchRun, match="firelift migrate"):
        _ = Workspace.latest(tmp_path) if migration_id is None else Workspace.of(tmp_path, migration_id)


def test_a_file_in_place_of_the_directory_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    for root in (path, path / "below"):
        with pytest.raises(WorkingDirUnusable, match="a file is where a directory is needed"):
            Workspace(root, "one").create()


def test_a_directory_in_place_of_a_link_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "verification-results").mkdir()
    with pytest.raises(WorkingDirUnusable, match="verification-results"):
        Workspace(tmp_path, "one").create()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WorkingDirUnusable, match="cannot be written"):
        Workspace(tmp_path / "workspace", "one").create()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a directory that even root cannot write")
def test_a_read_only_place_is_a_clear_error() -> None:
    with pytest.raises(WorkingDirUnusable) as caught:
        Workspace(Path("/proc/firelift"), "one").create()
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_a_clear_error() -> None:
    with pytest.raises(DiskFull, match="Free space") as caught, storage_errors(Path("/dev/full")), Path("/dev/full").open("w") as full:
        full.write("x" * 100_000)
    assert caught.value.recovery == "after_fix"
    assert caught.value.exit_code == 1


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "one").create()
    workspace.write_json("a.json", 1)
    before = set(workspace.run.iterdir())
    with pytest.raises(ValueError, match="JSON compliant"):
        workspace.write_json("a.json", float("nan"))
    assert workspace.read_json("a.json") == 1
    assert set(workspace.run.iterdir()) == before


def test_text_that_is_no_unicode_is_still_json(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "one").create()
    workspace.write_json("a.json", {"name": "\ud800 é \0"})
    assert workspace.read_json("a.json") == {"name": "\ud800 é \0"}


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "one").create()
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(len(json.loads((tmp_path / STATUS).read_bytes())))

    reader = threading.Thread(target=read)
    workspace.write_json(STATUS, {})
    reader.start()
    for size in range(300):
        workspace.write_json(STATUS, {str(number): "x" * 100 for number in range(size)})
    done.set()
    reader.join()
    assert seen == sorted(seen)


def test_what_an_earlier_attempt_verified_does_not_stand_beside_what_this_one_finds(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "work", "run").create()
    (workspace.verification_results / "data-docs").mkdir()
    (workspace.verification_results / "data-docs" / "index.html").write_text("passed")
    (workspace.verification_results / "verification.json").write_text("{}")
    workspace.clear_verification()
    assert list(workspace.verification_results.iterdir()) == []


def test_a_directory_that_is_made_later_is_for_the_owner_alone_at_every_level(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = Workspace(tmp_path / "work", "run").make_private("verifications", "now")
    finally:
        os.umask(before)
    assert made == tmp_path / "work" / "runs" / "run" / "verifications" / "now"
    assert {oct(path.stat().st_mode & 0o777) for path in (made, *made.parents[:4])} == {"0o700"}
