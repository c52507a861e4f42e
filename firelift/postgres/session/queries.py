"""The fixed SQL that the target is sent, by name, from the files in `postgres/sql/`."""

from __future__ import annotations

import re
from pathlib import Path

SQL = Path(__file__).parents[1] / "sql"


def _named(text: str) -> dict[str, bytes]:
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}


QUERY = {
    name: query
    for file in ("queries.sql", "refresh.sql", "backups.sql", "stop.sql", "ownership.sql")
    for name, query in _named((SQL / file).read_text(encoding="utf-8")).items()
}
CONTROL_TABLES = (SQL / "control.sql").read_bytes()
