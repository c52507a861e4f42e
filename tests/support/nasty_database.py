"""A small but nasty Firestore database: every kind of value, four levels, parents that do not exist, ids that need care."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from firelift.local.writer import GeoPoint, Reference, Vector, delete_documents, values, write_documents

NASTY = ["ä ö ü", "O'Brien", 'say "hi"', "tab\there", "a.b.c", "-1", "007", "__not_reserved", "%2F", "🦊", "z" * 300, "Null", "\\N"]
START = datetime(2020, 1, 1, tzinfo=UTC)

USERS, CITIES, ROOMS = 420, 400, 60
Documents = Iterator[tuple[str, Mapping[str, object]]]


def fill(host: str, project: str) -> int:
    """Writes the database; returns its number of documents."""
    documents = ((path, values(fields)) for path, fields in _everything(_name(project)))
    return write_documents(host, _name(project), documents)


def go_on(host: str, project: str) -> None:
    """What a living database does while a migration runs: changes, deletes and adds everywhere. No run before it may see any of it."""
    changed = [(f"users/{key}", values({"name": "changed", "since": 1})) for key in _ids("user", USERS)[::3]]
    added = [(f"users/new-{number}/orders/{number}", values({"total": number})) for number in range(50)]
    write_documents(host, _name(project), [*changed, *added, ("latecomers/1", values({"late": True}))])
    delete_documents(host, _name(project), [f"cities/{key}" for key in _ids("city", CITIES)[::4]])


def _name(project: str) -> str:
    return f"projects/{project}/databases/(default)"


def _everything(database: str) -> Documents:
    yield from _cities()
    yield from _users(database)
    yield from _rooms()


def _cities() -> Documents:
    for number, key in enumerate(_ids("city", CITIES)):
        size: object = [number, number + 0.25, None, str(number)][number % 4]
        nested = {"n": number, "deep": [{"a": None}], "raw": bytes([number % 256])}
        where = GeoPoint(number / 5, -number / 3)
        yield f"cities/{key}", {"name": f"City of {key}", "population": number * 1000, "where": where, "size": size, "nested": nested}


def _users(database: str) -> Documents:
    cities = _ids("city", CITIES)
    for number, key in enumerate(_ids("user", USERS)):
        yield f"users/{key}", _user(number)
        for order in range(number % 3):
            city = cities[(number * 7 + order) % len(cities)] if number % 50 else "never-was"
            yield (
                f"users/{key}/orders/{order}",
                {"total": number * 1.5, "to": Reference(f"{database}/documents/cities/{city}"), "tags": [key[:3]]},
            )
            if number % 10 == 0:
                yield f"users/{key}/orders/{order}/items/{number}", {"embedding": Vector((0.5, float(number))), "odd": float("nan")}


def _user(number: int) -> Mapping[str, object]:
    fields: dict[str, object] = {"name": f"User {number}", "createdAt": START + timedelta(hours=number, microseconds=number)}
    if number % 2:
        fields["nickName"] = None if number % 3 else "a\0b"
    if number % 5 == 0:
        fields["score"] = -0.0
    return fields


def _rooms() -> Documents:
    """Every other room is only the parent of its messages."""
    for number in range(ROOMS):
        if number % 2:
            yield f"rooms/{number:03}", {"title": f"Room {number}"}
        for message in range(6):
            yield f"rooms/{number:03}/messages/{message}", {"text": f"{number}.{message}", "read": message % 2 == 0}


def _ids(kind: str, number: int) -> list[str]:
    return [*NASTY, *(f"{kind}-{index:04}" for index in range(number - len(NASTY)))]
