"""The fixed SQL of this room, by name, from `queries.sql`."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def _named(text: str) -> dict[str, bytes]:
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}


QUERY = _named((HERE / "queries.sql").read_text(encoding="utf-8"))
CONTROL_TABLES = (HERE / "control.sql").read_bytes()
