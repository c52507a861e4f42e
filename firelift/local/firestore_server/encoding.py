"""Messages put together from bytes, for a stream of a million documents has no time for a million messages."""

from __future__ import annotations

from firelift.local.firestore_server.database import Moment, Row

DOCUMENT, READ_TIME = 0x0A, 0x1A
_NAME, _FIELDS, _CREATED, _UPDATED = 0x0A, 0x12, 0x1A, 0x22


def document(root: str, row: Row) -> bytes:
    """A serialized Document. `root` is the resource name of the database's root, with a slash at its end."""
    return delimited(_NAME, (root + row.path).encode()) + row.fields + row.times


def document_key(root: str, row: Row) -> bytes:
    """The same without its fields, as the projection to `__name__` has it."""
    return delimited(_NAME, (root + row.path).encode()) + row.times


def times(created: Moment, updated: Moment) -> bytes:
    return delimited(_CREATED, timestamp(created)) + delimited(_UPDATED, timestamp(updated))


def fields_entry(entry: bytes) -> bytes:
    return delimited(_FIELDS, entry)


def timestamp(moment: Moment) -> bytes:
    seconds, nanos = moment
    return b"\x08" + varint(seconds) + (b"\x10" + varint(nanos) if nanos else b"")


def delimited(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    if length < 0x4000:
        return bytes((tag, length & 0x7F | 0x80, length >> 7)) + content
    return bytes((tag,)) + varint(length) + content


def varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
