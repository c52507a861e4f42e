"""What Firestore takes at most, from the Firestore of our own: sizes, keys and depths at https://firebase.google.com/docs/firestore/quotas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firelift.firestore.channel import Source
from firelift.local.firestore_server.server import FirestoreServer
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.postgres import PostgresServer
from tests.support.whole_way import Things, migrate, new_database, write

MIB = 1 << 20
DEEPEST = 100
"""Subcollections beneath one another."""


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"end": 1}
    for level in range(levels - 1):
        found = {f"level{level}": found}
    return found


LARGEST: Things = {
    "large/text": {"text": "ä" * (MIB // 2 - 100)},
    "large/bytes": {"bytes": b"\0\xff" * (MIB // 2 - 100)},
    "large/array": {"numbers": list(range(20_000))},
    "large/fields": {f"field{number:05}": number for number in range(200)},
    "large/nested": nested(20),
    f"large/{'k' * 1500}": {"key": "of 1,500 bytes"},
    f"large/{'ü' * 750}": {"key": "of 1,500 bytes, two a letter"},
    **{"/".join(f"c{depth}/d{depth}" for depth in range(levels)): {"levels": levels} for levels in (1, 31, 32, 33, DEEPEST)},
}


# PostgreSQL takes no key of more columns.
TOO_DEEP = {path for path in LARGEST if path.count("/") > 2 * 32}


def test_the_largest_documents_and_the_deepest_arrive(postgres: PostgresServer, tmp_path: Path) -> None:
    with FirestoreServer(StoredAnswers(StoredDatabase())) as server, new_database(postgres) as url:
        source = Source("p", emulator_host=server.address)
        write(source, LARGEST)
        arrival = migrate(source, url, tmp_path / "workspace")
        arrival.check()
        assert set(arrival.documents) == set(LARGEST)
        assert set(arrival.rejects) == TOO_DEEP
