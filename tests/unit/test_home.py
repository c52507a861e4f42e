"""FIRELIFT_HOME, the directory in which deployed runs work, is said by name where it is missing or wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firelift.firelift_home import DEPLOYED, HomeMissing, HomeWrong, check_home, enter_home, refuse_wrong_home


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (DEPLOYED, "FIRELIFT_HOME"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def test_a_run_works_in_the_directory_that_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    check_home(str(home))
    assert enter_home(str(home)) == {"directory": str(home)}
    assert os.getcwd() == os.environ["FIRELIFT_HOME"] == str(home)
    refuse_wrong_home()


@pytest.mark.parametrize(
    ("directory", "because"), [("here", "not an absolute path"), ("/nowhere/at/all", "no such directory"), (__file__, "no such directory")]
)
def test_a_wrong_one_is_refused_when_deploying_and_by_the_run(directory: str, because: str) -> None:
    with pytest.raises(SystemExit, match=rf"^error: FIRELIFT_HOME .*{directory}.*{because}"):
        check_home(directory)
    enter_home(directory)
    with pytest.raises(HomeWrong, match=f"{directory}.*{because}"):
        refuse_wrong_home()


def test_a_missing_one_is_said_when_deploying_and_refused_by_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    check_home("")
    assert "FIRELIFT_HOME is not set here" in capsys.readouterr().out
    enter_home("")
    with pytest.raises(HomeMissing, match="FIRELIFT_HOME is not set"):
        refuse_wrong_home()


def test_a_command_that_no_worker_started_does_not_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRELIFT_HOME", "/nowhere/at/all")
    refuse_wrong_home()
