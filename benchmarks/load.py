"""Loads N documents of one plain shape into an emulator: what the benchmarks migrate."""

from __future__ import annotations

import argparse
import string
import time
from collections.abc import Iterator
from random import Random

from firelift.firestore.values import Value
from firelift.local.writer import value_of, values, write_documents

ORGS = 50
OPENED = 1_700_000_000  # seconds since 1970


def load_benchmark(host: str, documents: int, project: str = "demo-firelift", database: str = "(default)") -> int:
    """Writes `documents` users and 50 orgs; returns the number of documents."""
    resource = f"projects/{project}/databases/{database}"
    return write_documents(host, resource, orgs()) + write_documents(host, resource, users(resource, documents))


def orgs() -> Iterator[tuple[str, dict[str, Value]]]:
    return ((f"orgs/o{number}", values({"name": f"Org {number}", "seats": number})) for number in range(ORGS))


def users(resource: str, documents: int) -> Iterator[tuple[str, dict[str, Value]]]:
    random = Random(1)
    letters = string.ascii_letters + string.digits
    return ((f"users/{''.join(random.choices(letters, k=20))}", user(resource, number, random)) for number in range(documents))


def user(resource: str, number: int, random: Random) -> dict[str, Value]:
    # The kinds spelled out: twice as fast as guessing them from Python values, and it is the loader that one waits for.
    return {
        "name": value_of(string_value=f"User {number}"),
        "email": value_of(string_value=f"user{number}@example.com"),
        "age": value_of(integer_value=number % 90),
        "score": value_of(double_value=random.random() * 100),
        "active": value_of(boolean_value=number % 2 == 0),
        "createdAt": value_of(timestamp_value={"seconds": OPENED + number}),
        "address": address(number),
        "tags": value_of(array_value={"values": [value_of(string_value=tag) for tag in ("a", "b", "c")]}),
        "org": value_of(reference_value=f"{resource}/documents/orgs/o{number % ORGS}"),
        "loc": value_of(geo_point_value={"latitude": 1.5, "longitude": 2.5}),
        "bio": value_of(string_value="x" * 110),
        "n": value_of(integer_value=number),
    }


def address(number: int) -> Value:
    parts = {"street": f"{number} Main", "city": "Berlin", "zip": "10115"}
    return value_of(map_value={"fields": {name: value_of(string_value=part) for name, part in parts.items()}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host", help="host:port of a Firestore emulator")
    parser.add_argument("documents", type=int, help="how many users")
    parser.add_argument("--project", default="demo-firelift")
    asked = parser.parse_args()
    started = time.perf_counter()
    loaded = load_benchmark(asked.host, asked.documents, asked.project)
    print(f"{loaded} documents in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
