"""What `make` says while it sets up: that it installs, and errors."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_installing_is_one_line_and_every_installer_is_told_to_be_quiet() -> None:
    planned = subprocess.run(["make", "-n", "-B", "setup"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    installers = [line for line in planned.splitlines() if re.search(r"pip install|uv venv", line)]
    assert len(installers) == 5
    assert [line for line in installers if "--quiet" not in line] == []
    (said,) = re.findall(r'^echo "(.*)"$', planned, re.MULTILINE)
    assert said.startswith("Installing ")
