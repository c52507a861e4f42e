"""What the tests of this tier share beside the servers."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A working directory of this test alone."""
    return tmp_path / "workspace"
