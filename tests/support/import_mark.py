"""A module that shows when it is imported: by a file of the name that the environment gives."""

from __future__ import annotations

import os
from pathlib import Path

MARK = "FIRELIFT_TEST_MARK"

if MARK in os.environ:
    Path(os.environ[MARK]).touch()
