"""Documents with every type of Firestore, and ways to corrupt the rows they became, one value at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from psycopg import sql

from firelift.firestore.channel import Source
from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.postgres.session.connect import Connection
from tests.support.strategies import wrapped
from tests.support.whole_way import Things

DOCUMENTS = 36
ORGS = 7
NAMES = (
    "Ame\u0301lie",
    "Ada",
    "zo\u0308e",
    "Grace Hopper",
    "",
    "Łukasz",
    "İ",
    "tab\tbed",
    "line\nbroken",
    'quote"d',
    "a\\b",
    "\N{GRINNING FACE}",
)
BEGIN = datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)
Key = tuple[str, ...]


def rich_documents(source: Source, enterprise: bool = False) -> Things:
    """`enterprise`: with values of MongoDB's types, which the emulator refuses."""
    chance = Random(5)
    documents: dict[str, dict[str, object]] = {f"orgs/o{number}": {"name": f"Org {number}", "seats": number} for number in range(ORGS)}
    for number in range(DOCUMENTS):
        documents[f"rich/{_id(number)}"] = _rich(source, number, chance) | (_of_mongodb(number) if enterprise else {})
        for note in range(2):
            documents[f"rich/{_id(number)}/notes/n{note}"] = {"title": f"Note {note}", "stars": note + 0.5}
        documents[f"rich/{_id(number)}/notes/n0/lines/l{number}"] = {"text": f"line {number}"}
    return documents


def _id(number: int) -> str:
    return f"Doc{number:03}" if number % 5 else f"dóc {number}"


def _of_mongodb(number: int) -> dict[str, object]:
    return {
        "small": wrapped("int32", number),
        "price": wrapped("decimal128", f"{number}.50"),
        "oid": wrapped("object_id", f"{number + 1:024x}"),
    }


def _rich(source: Source, number: int, chance: Random) -> dict[str, object]:
    def reference(path: str) -> Reference:
        return Reference(f"{source.root}/{path}")

    moment = BEGIN + timedelta(days=number, microseconds=number)
    fields: dict[str, object] = {
        "name": NAMES[number % len(NAMES)],
        "label": f"label {number}",
        "count": number * 3,
        "big": 2**60 + number,
        "ratio": chance.random() * 100,
        "zero": 0.0 if number % 2 else -0.0,
        "odd": float("nan") if number % 5 == 0 else number / 3,
        "both": number if number % 4 == 0 else number + 0.5,
        "flag": number % 2 == 0,
        "at": moment,
        "raw": chance.randbytes(12),
        "spot": GeoPoint(number + 0.25, -number - 0.5),
        "vector": Vector((chance.random(), float(number), -0.0)),
        "org": reference(f"orgs/o{number % ORGS}"),
        "any": reference(f"orgs/o{number % ORGS}" if number % 2 else f"rich/{_id(number)}"),
        "tags": [f"tag {number}", "b", "cafe\u0301"],
        "numbers": [number, number + 1, 2**62],
        "ratios": [number + 0.5, -0.0, float("inf")],
        "flags": [True, False, number % 3 == 0],
        "moments": [moment, BEGIN],
        "address": {
            "zip": f"{10000 + number}",
            "city": "Berlin ",
            "spot": GeoPoint(1.5, number + 0.5),
            "since": BEGIN.replace(microsecond=0) + timedelta(days=number),
            "blob": chance.randbytes(4),
            "visits": number + 1,
            "score": number + 0.1,
            "whole": float(number + 1),
            "gone": None,
            "owner": reference(f"orgs/o{number % ORGS}"),
        },
        "list": [number, "a", {"deep": [1.5, None, f"x{number}"]}, True],
        "nul": f"a\0b{number}" if number % 6 == 0 else f"ab{number}",
    }
    if number % 3:
        fields["note"] = reference(f"rich/{_id(number - 1)}/notes/n{number % 2}")
        fields["maybe"] = f"maybe {number}" if number % 3 == 1 else None
        fields["number"] = number / 7
    if number % 7:
        fields["nothing"] = None if number % 7 < 5 else number
    if number % 4:
        fields["anything"] = [f"text {number}", number, number % 8 == 3][number % 4 - 1]
    if number % 9 == 4:
        fields["address"] = {**fields["address"], "score": -0.0, "whole": float("nan")}  # type: ignore[dict-item]
    return fields


Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Corruption:
    """One value of one row becomes another; `to` is SQL, or makes the new value of the old one."""

    name: str
    column: str
    to: str | Change
    where: str = "true"
    field: str | None = None
    """The field path that a difference names; the column's name if not given, "" for the whole row."""
    table: str = "rich"

    @property
    def named(self) -> str:
        return self.column if self.field is None else self.field


@dataclass(frozen=True)
class Planted:
    """What was corrupted: rows by table and key, and the place in each."""

    table: str
    keys: tuple[Key, ...]
    field: str


def bit(number: float, place: int) -> float:
    flipped: float = struct.unpack(">d", (int.from_bytes(struct.pack(">d", number)) ^ (1 << place)).to_bytes(8))[0]
    return flipped


def flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1, *data[1:]])


def _json(path: str, to: str) -> str:
    return f"jsonb_set({path.split('.')[0]}, '{{{','.join(path.split('.')[1:])}}}', {to})"


def _given(field: str, tag: str) -> str:
    """A residue that says this of a field, beside what it says already."""
    return (
        "jsonb_build_object('values', coalesce(firestore_residue->'values', '[]') || "
        f"""jsonb_build_array(jsonb_build_object('at', jsonb_build_array('{field}'), 'is', '{tag}'::jsonb)))"""
    )


def _without(field: str) -> str:
    """The residue without what it says of a field."""
    return (
        "jsonb_build_object('values', (SELECT coalesce(jsonb_agg(said), '[]') "
        "FROM jsonb_array_elements(firestore_residue->'values') AS said "
        f"WHERE said->'at'->>0 <> '{field}'))"
    )


def _says(*at: str) -> str:
    return f"coalesce(firestore_residue->'values' @> '{json.dumps([{'at': list(at)}])}', false)"


CORRUPTIONS = [
    # numbers
    Corruption("the last bit of a double", "ratio", lambda number: bit(number, 0)),
    Corruption("another bit of a double", "ratio", lambda number: bit(number, 40)),
    Corruption("minus zero for zero", "zero", "'-0'::float8", "zero::text = '0'"),
    Corruption("zero for minus zero", "zero", "'0'::float8", "zero::text = '-0'"),
    Corruption("NaN for a missing number", "number", "'NaN'::float8", "number IS NULL"),
    Corruption("NaN for a number", "ratio", "'NaN'::float8"),
    Corruption("a number for NaN", "odd", "0.0", "odd = 'NaN'"),
    Corruption("infinity", "ratio", "'Infinity'::float8"),
    Corruption("a double for an integer", "firestore_residue", _without("both"), _says("both"), "both"),
    Corruption(
        "an integer for a double",
        "firestore_residue",
        _given("both", '{"integerValue": "3"}'),
        f"NOT {_says('both')}",
        "both",
    ),
    Corruption("another zero beneath an integer", "both", "'-0'::float8", '"both" = 0'),
    Corruption("one more", "count", "count + 1"),
    Corruption("one less", "big", "big - 1"),
    Corruption("2^53 more", "big", "big + 9007199254740992"),
    Corruption("an integer that went through a double", "big", "big::float8::bigint", "big <> big::float8::bigint"),
    # text
    Corruption("a trailing space", "label", "label || ' '"),
    Corruption("a space that went", "address", _json("address.city", "'\"Berlin\"'"), field="address.city"),
    Corruption("NFC for NFD", "name", "normalize(name, NFC)", "name <> normalize(name, NFC)"),
    Corruption("NFC for NFD in an array", "tags", "tags[1:2] || normalize(tags[3], NFC)", field="tags[2]"),
    Corruption("upper case", "label", "upper(label)"),
    Corruption("a letter that only looks like it", "label", "replace(label, 'a', '\u0430')"),
    Corruption("null for the empty string", "name", "NULL", "name = ''"),
    Corruption("the empty string for null", "maybe", "''", "maybe IS NULL"),
    Corruption("another character for NUL", "nul", "replace(nul, '\ufffd', '?')", "nul LIKE '%\ufffd%'"),
    Corruption("U+FFFD for NUL", "firestore_residue", _without("nul"), _says("nul"), "nul"),
    Corruption("an invisible character", "label", "label || '\u200b'"),
    # null and missing
    Corruption("null for missing", "firestore_residue", _given("note", '{"nullValue": null}'), "note IS NULL", "note"),
    Corruption("missing for null", "firestore_residue", _without("maybe"), f"maybe IS NULL AND {_says('maybe')}", "maybe"),
    Corruption(
        "null for missing where NULL means null",
        "firestore_residue",
        _without("nothing"),
        f"nothing IS NULL AND {_says('nothing')}",
        "nothing",
    ),
    Corruption(
        "missing for null where NULL means null",
        "firestore_residue",
        _given("nothing", '{"missing": true}'),
        f"nothing IS NULL AND NOT {_says('nothing')}",
        "nothing",
    ),
    Corruption("a number for null", "nothing", "0", "nothing IS NULL"),
    Corruption("nothing for a value", "label", "NULL"),
    Corruption("a JSON null for NULL", "anything", "'null'::jsonb", "anything IS NULL"),
    # times
    Corruption("a microsecond", "at", "at + interval '1 microsecond'"),
    Corruption("a time zone", "at", "at + interval '1 hour'"),
    Corruption("the end of time", "at", "'infinity'::timestamptz"),
    Corruption("a microsecond in an array", "moments", "ARRAY[moments[1], moments[2] - interval '1 microsecond']", field="moments[1]"),
    Corruption("the create time", "firestore_created_at", "firestore_created_at + interval '1 microsecond'", field=""),
    Corruption("the update time", "firestore_updated_at", "firestore_updated_at - interval '1 day'", field=""),
    Corruption("no update time", "firestore_updated_at", "NULL", field=""),
    Corruption("a nested time", "address", _json("address.since", "'\"2020-02-30T00:00:00Z\"'"), field="address.since"),
    Corruption(
        "a microsecond in a nested time",
        "address",
        _json("address.since", "to_jsonb(replace(address->>'since', 'Z', '.000001Z'))"),
        field="address.since",
    ),
    Corruption(
        "a nested time spelled otherwise",
        "address",
        _json("address.since", "to_jsonb(replace(address->>'since', 'Z', '.000000Z'))"),
        field="address",
    ),
    # bytes, booleans, places, vectors
    Corruption("one bit of bytes", "raw", flipped),
    Corruption("a byte less", "raw", lambda data: data[:-1]),
    Corruption("nested bytes", "address", _json("address.blob", "'\"AAAA\"'"), field="address.blob"),
    Corruption("a boolean flipped", "flag", "NOT flag"),
    Corruption("a boolean flipped in an array", "flags", "flags[1:2] || NOT flags[3]", field="flags[2]"),
    Corruption("a place turned round", "spot", "jsonb_build_object('latitude', spot->'longitude', 'longitude', spot->'latitude')"),
    Corruption("a place that is none", "spot", "spot - 'latitude'"),
    Corruption("a nested place", "address", _json("address.spot.latitude", "'1.25'"), field="address.spot"),
    Corruption("an element of a vector", "vector", lambda numbers: [bit(numbers[0], 3), *numbers[1:]], field="vector[0]"),
    Corruption("a vector's sign of zero", "vector", lambda numbers: [*numbers[:2], 0.0], field="vector[2]"),
    Corruption("a shorter vector", "vector", lambda numbers: numbers[:-1]),
    # MongoDB's types
    Corruption("a 32-bit integer", "small", "small + 1", field="small.__int__"),
    Corruption("a decimal number of the same value", "price", "price || '0'", field="price.__decimal128__"),
    Corruption("a digit of an ObjectId", "oid", "reverse(oid)", "oid <> reverse(oid)", field="oid.__oid__"),
    # references
    Corruption("a reference to another document", "org", "'o' || ((substr(org, 2)::int + 1) % 7)"),
    Corruption("a reference to another document of the same id", "note_rich_id", "'Doc999'", "note IS NOT NULL", "note"),
    Corruption("a part of a reference that is none", "note_rich_id", "'Doc001'", "note IS NULL", "note"),
    Corruption("a reference to another collection", "any", "'rich/' || split_part(\"any\", '/', 2)", "\"any\" LIKE 'orgs/%'", "any"),
    Corruption("a reference spelled otherwise", "any", "'{root}/' || \"any\"", field="any"),
    Corruption("a nested reference", "address", _json("address.owner", "'\"orgs/o99\"'"), field="address.owner"),
    # arrays
    Corruption("an array reordered", "numbers", lambda numbers: [numbers[1], numbers[0], *numbers[2:]]),
    Corruption("an element gone", "tags", lambda tags: tags[1:], field="tags[0]"),
    Corruption("an element twice", "tags", lambda tags: [*tags, tags[-1]]),
    Corruption("an empty array", "ratios", lambda _: []),
    Corruption("NULL for an array", "ratios", "NULL"),
    Corruption("NULL in an array", "numbers", lambda numbers: [*numbers[:2], None]),
    Corruption("an array in an array", "numbers", lambda numbers: [numbers]),
    Corruption("the sign of a zero in an array", "ratios", lambda numbers: [numbers[0], 0.0, numbers[2]], field="ratios[1]"),
    # jsonb
    Corruption("a list reordered", "list", "jsonb_build_array(list->1, list->0, list->2, list->3)"),
    Corruption("an element gone deep in a list", "list", "list #- '{2,deep,1}'", field="list[2].deep"),
    Corruption(
        "a double for an integer in jsonb",
        "address",
        _json("address.visits", "((address->>'visits') || '.0')::jsonb"),
        field="address.visits",
    ),
    Corruption(
        "an integer for a double in jsonb",
        "address",
        _json("address.whole", "to_jsonb((address->>'whole')::numeric::bigint)"),
        "jsonb_typeof(address->'whole') = 'number'",
        "address.whole",
    ),
    Corruption(
        "digits beyond a double in jsonb",
        "address",
        _json("address.score", "to_jsonb((address->>'score')::numeric + 1e-30)"),
        "(address->>'score')::numeric > 0",
        "address",
    ),
    Corruption(
        "a number for its digits in jsonb", "address", _json("address.zip", "to_jsonb((address->>'zip')::int)"), field="address.zip"
    ),
    Corruption("a key renamed", "address", "address - 'zip' || jsonb_build_object('Zip', address->'zip')", field="address.zip"),
    Corruption("a key removed", "address", "address - 'city'", field="address.city"),
    Corruption("a key added", "address", "address || '{\"more\": 1}'", field="address.more"),
    Corruption("missing for null in jsonb", "address", "address - 'gone'", field="address.gone"),
    Corruption("null for missing in jsonb", "address", "address || '{\"none\": null}'", field="address.none"),
    Corruption("false for null in jsonb", "address", "address || '{\"gone\": false}'", field="address.gone"),
    Corruption(
        "what a residue hides in jsonb",
        "address",
        _json("address.score", "'7.5'"),
        _says("address", "score"),
        "address",
    ),
    Corruption("a string for a number", "anything", "to_jsonb(anything #>> '{}')", "jsonb_typeof(anything) = 'number'"),
    Corruption("true for false", "anything", "'true'", "anything = 'false'"),
    # residue
    Corruption(
        "a residue edited",
        "firestore_residue",
        "replace(firestore_residue::text, 'integerValue\": \"', 'integerValue\": \"1')::jsonb",
        _says("both"),
        "both",
    ),
    Corruption("a residue removed", "firestore_residue", "NULL", "firestore_residue IS NOT NULL", field=""),
    Corruption("a residue given", "firestore_residue", _given("label", '{"stringValue": "other"}'), field="label"),
    Corruption(
        "a residue given that says the same",
        "firestore_residue",
        _given("count", '{"integerValue": "0"}').replace(
            """'{"integerValue": "0"}'::jsonb""", "jsonb_build_object('integerValue', count::text)"
        ),
        field="firestore_residue",
    ),
    Corruption("a residue that leads nowhere", "firestore_residue", _given("tags", '{"unknownValue": 1}'), field=""),
    # nested tables
    Corruption("a number below", "stars", lambda number: bit(number, 1), table="rich_notes"),
    Corruption("a text below what is below", "text", "text || '.'", table="rich_notes_lines"),
]


KEYS = {"orgs": ("id",), "rich": ("id",), "rich_notes": ("rich_id", "id"), "rich_notes_lines": ("rich_id", "notes_id", "id")}


def corrupt(connection: Connection, corruption: Corruption, root: str, chance: Random) -> Planted:
    """Changes the value in one row, drawn among those whose row really changes."""
    keys = _keys(connection, corruption.table, corruption.where)
    chance.shuffle(keys)
    for key in keys:
        if _change(connection, corruption, root, key):
            return Planted(corruption.table, (key,), corruption.named)
    raise AssertionError(f"no row can have {corruption.name}")


def _change(connection: Connection, corruption: Corruption, root: str, key: Key) -> bool:
    before = _image(connection, corruption.table, key)
    column = sql.Identifier(corruption.column)
    if callable(corruption.to):
        query = sql.SQL("SELECT {} FROM {} AS row WHERE {}").format(column, _table(corruption.table), _is(corruption.table))
        [cell] = _one(connection, query, key)
        changed: sql.Composable = sql.Literal(corruption.to(cell))
    else:
        changed = sql.SQL(corruption.to.replace("{root}", root))
    update = sql.SQL("UPDATE {} AS row SET {} = {} WHERE {}").format(_table(corruption.table), column, changed, _is(corruption.table))
    # As text: beside parameters psycopg takes a percent sign for a placeholder.
    connection.execute(update.as_string(connection).replace("%", "%%").replace("%%s", "%s"), key)
    return bool(_image(connection, corruption.table, key) != before)


def _image(connection: Connection, table: str, key: Key) -> Any:
    return _one(connection, sql.SQL("SELECT record_send(row.*) FROM {} AS row WHERE {}").format(_table(table), _is(table)), key)


def _one(connection: Connection, query: sql.Composed, key: Key) -> Any:
    found = connection.execute(query, key).fetchone()
    assert found is not None
    return found


def _keys(connection: Connection, table: str, where: str = "true") -> list[Key]:
    columns = sql.SQL(", ").join(map(sql.Identifier, KEYS[table]))
    rows = connection.execute(sql.SQL("SELECT {0} FROM {1} WHERE {2} ORDER BY {0}").format(columns, _table(table), sql.SQL(where)))
    return [tuple(row) for row in rows]


def _table(table: str) -> sql.Identifier:
    return sql.Identifier("public", table)


def _is(table: str) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("row.{} = %s").format(sql.Identifier(name)) for name in KEYS[table])


def _draw(connection: Connection, table: str, chance: Random) -> Key:
    return chance.choice(_keys(connection, table))


def row_gone(connection: Connection, chance: Random) -> Planted:
    table = chance.choice(list(KEYS))
    key = _draw(connection, table, chance)
    connection.execute(sql.SQL("DELETE FROM {} AS row WHERE {}").format(_table(table), _is(table)), key)
    return Planted(table, (key,), "")


def all_rows_gone(connection: Connection, chance: Random) -> Planted:
    table = chance.choice(list(KEYS))
    keys = _keys(connection, table)
    connection.execute(sql.SQL("DELETE FROM {}").format(_table(table)))
    return Planted(table, tuple(keys), "")


def row_twice_under_another_key(connection: Connection, chance: Random) -> Planted:
    table = chance.choice(list(KEYS))
    key = _draw(connection, table, chance)
    return Planted(table, (_copy(connection, table, key, f"{key[-1]} again"),), "")


def _copy(connection: Connection, table: str, key: Key, name: str) -> Key:
    columns = [
        name
        for (name,) in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", [f'public."{table}"']
        )
    ]
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    selected = sql.SQL(", ").join(sql.Literal(name) if column == "id" else sql.Identifier(column) for column in columns)
    copy = sql.SQL("INSERT INTO {0} ({1}) SELECT {2} FROM {0} AS row WHERE {3}").format(_table(table), listed, selected, _is(table))
    connection.execute(copy, key)
    return (*key[:-1], name)


def row_instead_of_another(connection: Connection, chance: Random) -> Planted:
    """As many rows as before: one is gone, and one stands there that nobody knows."""
    table = chance.choice(list(KEYS))
    one, other = chance.sample(_keys(connection, table), 2)
    new = _copy(connection, table, one, f"{one[-1]}?")
    connection.execute(sql.SQL("DELETE FROM {} AS row WHERE {}").format(_table(table), _is(table)), other)
    return Planted(table, (new, other), "")


def _renamed(place: int, rename: Callable[[str], str]) -> Callable[[Connection, Random], Planted]:
    def plant(connection: Connection, chance: Random) -> Planted:
        table = chance.choice([table for table, keys in KEYS.items() if len(keys) > place])
        key = chance.choice([key for key in _keys(connection, table) if rename(key[-1 - place]) != key[-1 - place]])
        names = list(key)
        names[-1 - place] = rename(key[-1 - place])
        column = sql.Identifier(KEYS[table][-1 - place])
        update = sql.SQL("UPDATE {} AS row SET {} = {} WHERE {}").format(_table(table), column, sql.Literal(names[-1 - place]), _is(table))
        connection.execute(update, key)
        return Planted(table, (key, tuple(names)), "")

    return plant


def rows_swapped(connection: Connection, chance: Random) -> Planted:
    """Two rows have each other's key."""
    one, other = chance.sample(_keys(connection, "rich"), 2)
    for now, then in ((one, ("?",)), (other, one), (("?",), other)):
        connection.execute("UPDATE public.rich SET id = %s WHERE id = %s", [*then, *now])
    return Planted("rich", (one, other), "label")


def values_swapped_between_rows(connection: Connection, chance: Random) -> Planted:
    column = chance.choice(["label", "count", "raw", "at", "ratio", "address", "vector", "moments"])
    one, other = chance.sample(_keys(connection, "rich"), 2)
    connection.execute(
        sql.SQL(
            "UPDATE public.rich AS row SET {0} = other.{0} FROM public.rich AS other "
            "WHERE row.id IN (%(one)s, %(other)s) AND other.id IN (%(one)s, %(other)s) AND row.id <> other.id"
        ).format(sql.Identifier(column)),
        {"one": one[0], "other": other[0]},
    )
    return Planted("rich", (one, other), column)


def values_swapped_between_columns(connection: Connection, chance: Random) -> Planted:
    pairs = [("label", "name"), ("count", "big"), ("ratio", "zero"), ("at", "firestore_created_at")]
    one, other = chance.choice(pairs)
    key = _draw(connection, "rich", chance)
    swap = sql.SQL("UPDATE public.rich SET {0} = {1}, {1} = {0} WHERE id = %s").format(sql.Identifier(one), sql.Identifier(other))
    connection.execute(swap, key)
    return Planted("rich", (key,), one)


def a_child_of_another_parent(connection: Connection, chance: Random) -> Planted:
    key = chance.choice([key for key in _keys(connection, "rich_notes")])
    connection.execute("UPDATE public.rich_notes SET rich_id = 'nobody' WHERE rich_id = %s AND id = %s", key)
    return Planted("rich_notes", (key, ("nobody", key[1])), "")


STRUCTURAL: dict[str, Callable[[Connection, Random], Planted]] = {
    "a row gone": row_gone,
    "all rows gone": all_rows_gone,
    "a row twice under another key": row_twice_under_another_key,
    "a row instead of another": row_instead_of_another,
    "a key in another case": _renamed(0, str.swapcase),
    "a key with a trailing space": _renamed(0, lambda name: name + " "),
    "a key of an ancestor with a trailing space": _renamed(1, lambda name: name + " "),
    "an invisible character in a key": _renamed(0, lambda name: name + "\u200d"),
    "two rows swapped": rows_swapped,
    "a value swapped between two rows": values_swapped_between_rows,
    "a value swapped between two columns": values_swapped_between_columns,
    "a child of another parent": a_child_of_another_parent,
}
