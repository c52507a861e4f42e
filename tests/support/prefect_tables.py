"""What Prefect's own migrations leave in a new database, and the file of `firelift/local/prefect_server/` that says so.

`python -m tests.support.prefect_tables` writes that file for the version of Prefect that is installed.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

import prefect

from firelift.local.cache import cache_directory
from firelift.local.prefect_server.server import temporary_server
from firelift.local.prefect_server.tables import written_down

# Of this no tables are written down and nothing is kept.
UNKNOWN = "0.0.0"
HEAD = """-- The tables of a new SQLite database of Prefect {version}, as Prefect's own migrations leave them (Apache License 2.0, Prefect).
-- Made by `python -m tests.support.prefect_tables`; not to be changed by hand.

"""


@contextmanager
def migrated_by_prefect() -> Iterator[Path]:
    """A database that a server has made by migrations from nothing."""
    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, XDG_CACHE_HOME=cache):
        with temporary_server(UNKNOWN, os.environ) as server:
            server.wait(300)
        directory = cache_directory()
        assert directory is not None
        yield directory / f"prefect-{UNKNOWN}.db"


def text_of(database: Path) -> str:
    """Its tables, then its indexes, and which migration was the last."""
    with closing(sqlite3.connect(database)) as connection:
        made = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name").fetchall()
        ((revision,),) = connection.execute("SELECT version_num FROM alembic_version")
    made.append((f"INSERT INTO alembic_version VALUES ('{revision}')",))
    return HEAD.format(version=prefect.__version__) + "".join(f"{statement};\n" for (statement,) in made)


if __name__ == "__main__":
    with migrated_by_prefect() as migrated:
        written_down(prefect.__version__).write_text(text_of(migrated), encoding="utf-8")
