"""A Firestore of generated documents, as a process of its own: any number of them, none in memory."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.load import ORGS, user
from firelift.firestore.values import Value
from firelift.local.firestore_server.answers import DatabaseAnswers
from firelift.local.firestore_server.encoding import delimited, fields_entry, varint
from firelift.local.firestore_server.generated import Collection, Generated, numbered_ids
from firelift.local.firestore_server.rules.counting import CountRefused
from firelift.local.firestore_server.rules.partitions import PartitionPages
from firelift.local.firestore_server.rules.streams import Distance, Failing, StreamLimit
from firelift.local.firestore_server.server import FirestoreServer, Rule
from firelift.local.firestore_server.stored import serialized

PROJECT = "benchmark-generated"
DATABASE = f"projects/{PROJECT}/databases/(default)"
VARIANTS = 1000
TENANTS, USUAL = 5, 0.05

_N, _NUMBER = delimited(0x0A, b"n"), b"\x10"


def user_fields() -> Callable[[int], bytes]:
    """Fields as those of `load.py`: the number is each document's own, everything else one of a thousand variants."""
    random = Random(1)
    pairs = [_around_number(user(DATABASE, number, random)) for number in range(VARIANTS)]

    def fields(number: int) -> bytes:
        before, behind = pairs[number % VARIANTS]
        return before + fields_entry(_N + delimited(0x12, _NUMBER + varint(number))) + behind

    return fields


def _around_number(made: dict[str, Value]) -> tuple[bytes, bytes]:
    before = {name: value for name, value in made.items() if name < "n"}
    behind = {name: value for name, value in made.items() if name > "n"}
    return serialized(before), serialized(behind)


def org_fields(number: int) -> bytes:
    return serialized({"name": Value(string_value=f"Org {number}"), "seats": Value(integer_value=number)})


def _orgs() -> Collection:
    ids = sorted(f"o{number}" for number in range(ORGS))
    return Collection("orgs", ORGS, org_fields, lambda number, _: ids[number])


def even(documents: int) -> Generated:
    """All in one root collection."""
    return Generated([_orgs(), Collection("users", documents, user_fields())])


def skewed(documents: int) -> Generated:
    """19 of 20 of them below five parents."""
    beside = int(documents * USUAL)
    events = Collection("events", (documents - beside) // TENANTS, user_fields())
    tenants = Collection("tenants", TENANTS, org_fields, numbered_ids, (events,))
    return Generated([_orgs(), tenants, Collection("users", beside, user_fields())])


SHAPES = {"even": even, "skewed": skewed}
RULES: dict[str, Sequence[Rule]] = {
    "quiet": [PartitionPages()],
    "far": [Distance(0.05, 10_000), PartitionPages()],
    "rough": [Failing(0.01), StreamLimit(60), CountRefused(), PartitionPages()],
}


def main() -> None:
    """Prints its address; when its input ends, the CPU seconds that it has taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=int)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("rules", choices=RULES)
    asked = parser.parse_args()
    with FirestoreServer(DatabaseAnswers(SHAPES[asked.shape](asked.documents)), RULES[asked.rules]) as server:
        print(json.dumps({"address": server.address}), flush=True)
        sys.stdin.read()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss * 1024}), flush=True)


if __name__ == "__main__":
    main()
