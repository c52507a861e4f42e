"""Documents anywhere, of any size, however they change while they are read: each becomes its row, or is rejected and kept."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firelift.firestore.channel import Source
from firelift.local.emulator import clear
from firelift.local.postgres import PostgresServer
from firelift.local.writer import Reference, delete_documents
from firelift.paths import Selection
from firelift.planning.build import PlanOptions
from firelift.planning.mapping import CollectionMapping, Mapping
from tests.support.whole_way import Arrival, Things, arrived, migrate, new_source, write

PHANTOM = "ghosts/a/l2/b/l3/c/l4/d/l5/real"
RARE = "users/u1234/rare/needle"
TWINS = ("notes/same", "notes/other/notes/same", "teams/same/notes/same", "users/u0001/notes/same", "users/u0002/notes/same")
DEEP = {depth: "/".join(f"deep/d{level}" for level in range(depth)) for depth in (1, 2, 31, 32, 33, 100)}
SHUFFLED = random.Random(6)


def long_id(length: int) -> str:
    """An id that no compression makes shorter: what Postgres would compress, we do not count on."""
    return "".join(SHUFFLED.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


def nested(depth: int) -> dict[str, object]:
    return {"level": depth, "inner": nested(depth - 1)} if depth > 1 else {"level": depth}


LONG = {
    # Header 8, then length and text of each value: 4 + 1345 and 4 + 1344 fill two thirds of a page of 8 KiB to the byte.
    "just fits": f"long/{long_id(1344)}/below/{long_id(1340)}",
    "too long": f"long/{long_id(1344)}/below/{long_id(1345)}",
    # Firestore ends a path at 6 KiB: four ids and their collections.
    "6 KiB": f"long/{long_id(1490)}/below/{long_id(1490)}/further/{long_id(1490)}/last/{long_id(1490)}",
}
MIXED = {f"many/m{number}": {f"f{field:04}": field for field in range(number, number + 300)} for number in range(0, 600, 100)}

# A heap tuple must fit in a page of 8 KiB: values up to some 24 bytes never leave it, and what is longer leaves 18 bytes.
WIDE: dict[str, Callable[[int], object]] = {
    "texts": long_id,
    "bytes": SHUFFLED.randbytes,
    "arrays": lambda length: [long_id(length)],
    "maps": lambda length: {long_id(length): 1.5},
}
WIDTHS = (1, 20, 24, 28, 100, 126, 130)

DOCUMENTS: Things = {
    PHANTOM: {"here": True},
    **{f"users/u{number:04}": {"number": number} for number in range(2000)},
    RARE: {"found": "yes"},
    **{path: {"path": path} for path in TWINS},
    "empties/empty": {},
    "large/one-mebibyte": {"text": "ü" * 500_000, "bytes": bytes(range(256)) * 180},
    # 20 000 fields are Firestore's limit of index entries of one document.
    "wide/20000-fields": {f"field_{number:05}": number for number in range(20_000)},
    "nested/20-deep": nested(20),
    **{path: {"depth": depth} for depth, path in DEEP.items()},
    **{path: {"what": what} for what, path in LONG.items()},
    **MIXED,
    **{f"wide_{kind}/{width}": {f"f{n:03}": make(width) for n in range(500)} for kind, make in WIDE.items() for width in WIDTHS},
}


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    directory = tmp_path_factory.mktemp("structure")
    with arrived(emulator_host, postgres, directory, DOCUMENTS, max_workers=2, batch_size=300, range_documents=700) as arrival:
        yield arrival


def test_every_document_is_its_row_or_is_kept_with_its_reason(arrival: Arrival) -> None:
    arrival.check()
    assert set(arrival.documents) == set(DOCUMENTS)


def test_a_document_below_four_parents_that_do_not_exist_is_found(arrival: Arrival) -> None:
    assert arrival.row(PHANTOM)["here"] is True
    assert [arrival.value(PHANTOM, key) for key in arrival.table("ghosts/*/l2/*/l3/*/l4/*/l5").keys] == ["a", "b", "c", "d", "real"]


def test_no_table_and_no_foreign_key_are_made_for_parents_that_do_not_exist(arrival: Arrival) -> None:
    assert [table.collection for table in arrival.plan.tables if table.collection.startswith("ghosts")] == ["ghosts/*/l2/*/l3/*/l4/*/l5"]
    assert arrival.table("ghosts/*/l2/*/l3/*/l4/*/l5").parent is None


def test_a_subcollection_below_one_of_2000_documents_is_found(arrival: Arrival) -> None:
    assert arrival.row(RARE)["found"] == "yes"
    assert arrival.table("users/*/rare").parent == "users"


def test_the_same_ids_under_different_parents_and_depths_stay_apart(arrival: Arrival) -> None:
    assert {path: arrival.value(path, "path") for path in TWINS} == {path: path for path in TWINS}
    tables = {table.collection: table.table for table in arrival.plan.tables if table.collection.endswith("notes")}
    assert tables == {
        "notes": "notes",
        "notes/*/notes": "notes_notes",
        "teams/*/notes": "teams_notes",
        "users/*/notes": "users_notes",
    }


def test_an_empty_document_is_a_row_of_nothing_but_its_key(arrival: Arrival) -> None:
    columns = arrival.row("empties/empty")
    assert list(columns) == ["id", "firestore_created_at", "firestore_updated_at", "firestore_residue"]
    assert columns["firestore_residue"] is None


def test_a_document_of_nearly_a_mebibyte_is_a_row(arrival: Arrival) -> None:
    assert len(arrival.value("large/one-mebibyte", "text").encode()) == 1_000_000


def test_of_20000_fields_400_are_columns_and_the_rest_is_extra(arrival: Arrival) -> None:
    table = arrival.table("wide")
    assert len(table.columns) <= 400
    columns = arrival.row("wide/20000-fields")
    extra = arrival.json("wide/20000-fields", "firestore_extra")
    shown = {column.dotted_path for column in table.columns if columns[column.name] is not None}
    assert shown | set(extra) == set(DOCUMENTS["wide/20000-fields"])
    assert columns["firestore_residue"] is None


def test_fields_beyond_400_columns_are_extra_and_the_rarest_ones(arrival: Arrival) -> None:
    table = arrival.table("many")
    assert 250 < len(table.columns) <= 400
    held = {field for fields in MIXED.values() for field in fields}
    often = {field for field in held if sum(field in fields for fields in MIXED.values()) > 2}
    assert often <= {column.dotted_path for column in table.columns}
    extras = [arrival.json(path, "firestore_extra") for path in MIXED if arrival.value(path, "firestore_extra")]
    assert {field for extra in extras for field in extra} == held - {column.dotted_path for column in table.columns}
    assert all(arrival.residue(path) is None for path in MIXED)


@pytest.mark.parametrize("kind", WIDE)
def test_a_row_is_never_too_wide_for_a_page(arrival: Arrival, kind: str) -> None:
    assert arrival.table(f"wide_{kind}").extra is not None
    assert [arrival.residue(f"wide_{kind}/{width}") for width in WIDTHS] == [None] * len(WIDTHS)


def test_maps_nested_20_deep_are_readable(arrival: Arrival) -> None:
    shown = arrival.json("nested/20-deep", "inner")
    for level in range(19, 1, -1):
        assert shown["level"] == level
        shown = shown["inner"]
    assert shown == {"level": 1}


@pytest.mark.parametrize("depth", [1, 2, 31, 32])
def test_a_key_of_up_to_32_columns_is_a_primary_key(arrival: Arrival, depth: int) -> None:
    table = next(table for table in arrival.plan.tables if table.collection == "/*/".join(["deep"] * depth))
    assert len(table.keys) == depth
    assert arrival.value(DEEP[depth], "depth") == depth


@pytest.mark.parametrize("depth", [33, 100])
def test_what_lies_deeper_than_an_index_has_columns_is_rejected(arrival: Arrival, depth: int) -> None:
    assert arrival.rejects[DEEP[depth]]["reason"] == "it is nested deeper than the 32 columns of an index"
    assert arrival.rejects[DEEP[depth]]["fields"] == {"depth": {"integerValue": str(depth)}}


def test_a_key_is_stored_up_to_the_last_byte_of_an_index_entry(arrival: Arrival) -> None:
    assert arrival.value(LONG["just fits"], "what") == "just fits"
    for what in ("too long", "6 KiB"):
        assert arrival.rejects[LONG[what]]["reason"] == "its ids are longer than the 2704 bytes of an index entry"


def test_the_count_of_the_snapshot_is_what_was_archived(arrival: Arrival) -> None:
    assert arrival.validated.documents == len(DOCUMENTS)


CHANGING: Things = {f"things/t{number:02}": {"state": "before", "number": number} for number in range(40)}


def test_what_changes_while_it_is_read_is_migrated_as_it_was_at_the_read_time(
    emulator_host: str, project: str, database_url: str, tmp_path: Path
) -> None:
    source = Source(project, emulator_host=emulator_host)
    write(source, {**CHANGING, "vanishing/v": {"state": "before"}})

    def change() -> None:
        write(source, {f"things/t{number:02}": {"state": ["after"]} for number in range(0, 40, 3)})
        write(source, {"things/new": {"state": "after"}, "things/t01/below/new": {}, "later/new": {}})
        delete_documents(emulator_host, source.name, [*(f"things/t{number:02}" for number in range(1, 40, 3)), "vanishing/v"])

    arrival = migrate(source, database_url, tmp_path, meanwhile=change)
    arrival.check()
    assert set(arrival.rows) == {*CHANGING, "vanishing/v"}
    assert {row["state"] for row in arrival.rows.values()} == {"before"}


def test_a_database_with_an_id_of_its_own_is_read_and_its_neighbour_is_not(emulator_host: str, database_url: str, tmp_path: Path) -> None:
    with new_source(emulator_host) as default:
        other = dataclasses.replace(default, database="archive-2")
        write(default, {"users/a": {"database": "default"}})
        write(other, {"users/a": {"database": "archive-2"}, "users/a/orders/1": {}})
        arrival = migrate(other, database_url, tmp_path)
        arrival.check()
        assert arrival.value("users/a", "database") == "archive-2"
        assert arrival.decoded["users/a"].name == f"projects/{default.project}/databases/archive-2/documents/users/a"
        clear(emulator_host, default.project, "archive-2")


def test_a_database_without_documents_is_a_migration_without_tables(
    emulator_host: str, project: str, database_url: str, tmp_path: Path
) -> None:
    arrival = migrate(Source(project, emulator_host=emulator_host), database_url, tmp_path)
    arrival.check()
    assert arrival.plan.tables == ()
    assert arrival.validated.warnings == ("The Firestore database holds no document.",)


def test_only_chosen_collections_arrive_and_references_to_others_are_paths(
    emulator_host: str, project: str, database_url: str, tmp_path: Path
) -> None:
    source = Source(project, emulator_host=emulator_host)
    reference = Reference(source.root + "/users/a")
    unwanted: Things = {"users/a": {}, "users/a/secrets/1": {}, "logs/1/parts/1": {}}
    write(source, {**unwanted, "users/a/orders/1": {}, "logs/1": {}, "posts/p": {"by": reference}})
    selection = Selection(["users/*/*", "logs", "posts"], ["*/*/secrets", "logs/*/parts"])
    arrival = migrate(source, database_url, tmp_path, selection=selection)
    assert set(arrival.rows) == {"users/a/orders/1", "logs/1", "posts/p"}
    assert arrival.table("users/*/orders").parent is None
    assert arrival.value("posts/p", "by") == "users/a"
    assert arrival.imported.relations == ()


def test_a_mapping_file_names_tables_and_columns(emulator_host: str, project: str, database_url: str, tmp_path: Path) -> None:
    source = Source(project, emulator_host=emulator_host)
    write(source, {"users/a": {"createdAt": 1, "joined": 2}, "people/b": {}})
    mapping = Mapping(collections={"users": CollectionMapping(table="people", columns={"createdAt": "joined"})})
    arrival = migrate(source, database_url, tmp_path, plan_options=PlanOptions(mapping=mapping))
    arrival.check()
    assert {table.collection: table.table for table in arrival.plan.tables} == {"people": "people_2", "users": "people"}
    assert (arrival.value("users/a", "joined"), arrival.value("users/a", "joined_2")) == (1, 2)
