"""The tables of a new Prefect database, for those versions of Prefect whose tables are written down beside this module.

They are what Prefect's migrations leave in an empty one, which take 4 s of CPU: 114 of them, one after another. To have SQLAlchemy make
them is nothing that Prefect 3.9 permits: its own description of them names one index twice.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent


def written_down(version: str) -> Path:
    """Where the tables of exactly this version are, if they are."""
    return HERE / f"prefect-{version}.sql"


def make_tables(database: Path, version: str) -> bool:
    """Makes `database` as the migrations would; False, and nothing made, where its tables are not written down or cannot be made."""
    try:
        statements = written_down(version).read_text(encoding="utf-8")
        database.touch(mode=0o600)
        _carry_out(statements, database)
    except (OSError, ValueError, sqlite3.Error):
        with suppress(OSError):
            database.unlink(missing_ok=True)
        return False
    return True


def _carry_out(statements: str, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        # After a power cut nobody will look for it.
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(f"BEGIN;\n{statements}\nCOMMIT;")
