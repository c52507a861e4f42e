"""MongoDB's types, which a database of the Enterprise edition sends as maps with a reserved key, arrive in plain columns and exactly."""

from __future__ import annotations

from pathlib import Path

import psycopg

from firelift.firestore.channel import Source
from firelift.firestore.fields import fewest_together
from firelift.local.firestore_server.server import FirestoreServer
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.postgres import PostgresServer
from tests.support.strategies import wrapped
from tests.support.whole_way import Things, migrate, new_database, write

OID = "507f1f77bcf86cd7994390"
# So many that they are encoded together, with some that are not.
MANY: Things = {
    f"many/{number:04}": {
        "count": wrapped("int32", number - 100),
        "price": wrapped("decimal128", f"{number}.50"),
        "owner": wrapped("object_id", f"{OID}{number % 90 + 10}"),
        "number": [wrapped("int32", number), number, number / 4][number % 3],
        "inside": {"count": wrapped("int32", number), "pattern": {"__regex__": {"pattern": "a+", "options": "i"}}},
    }
    for number in range(fewest_together + 50)
}
ODD: Things = {
    "many/none": {"count": None},
    "many/least": {"count": wrapped("int32", -(2**31)), "price": wrapped("decimal128", "-0E-6176")},
    "many/no number": {"price": wrapped("decimal128", "NaN")},
    "mixed/32 bits": {"value": wrapped("int32", 1)},
    "mixed/more": {"value": wrapped("int32", 2**31)},
    "mixed/two keys": {"value": {"__int__": 1, "more": 2}},
    "mixed/min": {"value": {"__min__": None}},
    "mixed/binary": {"value": {"__binary__": b"\0abc"}},
    "whole/1": {"value": wrapped("int32", 1)},
    "whole/2": {"value": 2**40},
}


def test_they_arrive_in_plain_columns_and_exactly(postgres: PostgresServer, tmp_path: Path) -> None:
    with FirestoreServer(StoredAnswers(StoredDatabase())) as server, new_database(postgres) as url:
        source = Source("p", emulator_host=server.address)
        write(source, {**MANY, **ODD})
        arrival = migrate(source, url, tmp_path / "workspace")
        arrival.check()
        assert set(arrival.documents) == {*MANY, *ODD}
        with psycopg.connect(url) as connection:
            columns: dict[str, str] = dict(connection.execute(COLUMNS).fetchall())
            sums = connection.execute(
                "SELECT sum(count), sum(price::numeric) FILTER (WHERE price <> 'NaN'), min(owner) FROM many"
            ).fetchone()
            exact = connection.execute("SELECT count(*) FROM many WHERE firestore_residue IS NULL").fetchone()
    assert columns == {
        "many.count": "bigint",
        "many.price": "text",
        "many.owner": "text",
        "many.number": "double precision",
        "many.inside": "jsonb",
        "mixed.value": "jsonb",
        "whole.value": "bigint",
    }
    numbers = range(len(MANY))
    assert sums == (sum(number - 100 for number in numbers) - 2**31, sum(numbers) + len(MANY) / 2, f"{OID}10")
    # Those whose number is a double, and two of the odd ones: the third has an explicit null.
    assert exact == (sum(number % 3 == 2 for number in numbers) + 2,)


COLUMNS = """
    SELECT table_name || '.' || column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' AND column_name NOT IN ('id') AND column_name NOT LIKE 'firestore_%'
"""
