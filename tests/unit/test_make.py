"""What `make` says while it sets up, and what its targets run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_installing_is_one_line_and_every_installer_is_told_to_be_quiet() -> None:
    planned = subprocess.run(["make", "-n", "-B", "setup"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    installers = [line for line in planned.splitlines() if re.search(r"pip install|uv venv", line)]
    assert len(installers) == 5
    assert [line for line in installers if "--quiet" not in line] == []
    (said,) = re.findall(r'^echo "(.*)"$', planned, re.MULTILINE)
    assert said.startswith("Installing ")


@pytest.mark.parametrize(("versions", "resolution"), [("lowest", "lowest-direct"), ("newest", "highest")])
def test_the_lowest_and_the_newest_allowed_versions_have_an_environment_of_their_own_and_run_tests_and_a_migration(
    versions: str, resolution: str
) -> None:
    planned = subprocess.run(["make", "-n", f"test-{versions}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = planned.replace("\\\n", " ").splitlines()
    (installs,) = [line for line in lines if "pip install --quiet" in line]
    assert f"--python .venv-{versions}/bin/python --upgrade --resolution {resolution} -e '.[dev]'" in installs
    (runs,) = [line for line in lines if "-m pytest" in line]
    assert runs.startswith(f".venv-{versions}/bin/python -m pytest tests/unit tests/acceptance/test_migration_flow.py ")
    left_out = re.findall(r"--deselect (\S+)::(\w+)", runs)
    assert len(left_out) == 2
    assert [name for file, name in left_out if f"def {name}(" not in (ROOT / file).read_text()] == []
