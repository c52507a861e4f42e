"""Renders values for the list of differences: with their type, and so that values that look alike are rendered differently."""

from __future__ import annotations

import math
import struct
import unicodedata
from typing import Any, Final

from firelift.firestore.values import NAN_BITS, ONEOF, Timestamp, Value, is_vector, vector_elements
from firelift.rfc3339 import MomentOutOfRange, rfc3339

LONGEST: Final = 200
_BEFORE: Final = 40
"""Characters that are shown before the first place where two long texts differ."""
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSEEN: Final = {"Mn", "Me", "Mc", "Cf", "Cc", "Co", "Cn", "Zl", "Zp", "Zs"}


def render(value: Value) -> str:
    """The whole value as text, with its type. Equal texts mean equal values, except for timestamps outside the calendar."""
    oneof = value.WhichOneof(ONEOF)
    match oneof:
        case "null_value":
            return "null"
        case "boolean_value":
            return "true" if value.boolean_value else "false"
        case "integer_value":
            return f"integer {value.integer_value}"
        case "double_value":
            return f"double {render_double(value.double_value)}"
        case "string_value":
            return f"string {quoted(value.string_value)}"
        case "bytes_value":
            return f"bytes {value.bytes_value.hex()}"
        case "timestamp_value":
            return f"timestamp {render_moment(value.timestamp_value)}"
        case "reference_value":
            return f"reference {quoted(value.reference_value)}"
        case "geo_point_value":
            point = value.geo_point_value
            return f"geopoint ({render_double(point.latitude)}, {render_double(point.longitude)})"
        case "array_value":
            return f"array [{', '.join(map(render, value.array_value.values))}]"
        case "map_value" if is_vector(value):
            return f"vector [{', '.join(map(render_double, vector_elements(value)))}]"
        case "map_value":
            fields = value.map_value.fields
            return f"map {{{', '.join(f'{quoted(key)}: {render(fields[key])}' for key in sorted(fields))}}}"
    return "no value"


def render_double(number: float) -> str:
    if number == number:
        return repr(number)
    bits = struct.pack(">d", number)
    return "NaN" if bits == NAN_BITS else f"NaN (bits {bits.hex()})"


def render_moment(moment: Timestamp) -> str:
    """RFC 3339 to the nanosecond; seconds and nanoseconds for a time outside the calendar."""
    try:
        whole = rfc3339(moment.seconds, 0).removesuffix("Z")
    except (MomentOutOfRange, OverflowError):
        return f"{moment.seconds} s and {moment.nanos} ns after 1970"
    return f"{whole}.{moment.nanos:09d}Z"


def render_cell(cell: Any) -> str:
    """What a column holds, as it comes from `read_rows` or from the encoder."""
    match cell:
        case None:
            return "NULL"
        case bool():
            return str(cell).lower()
        case str():
            return quoted(cell)
        case float():
            return render_double(cell) if not math.isinf(cell) else repr(cell)
        case bytes():
            return f"\\x{cell.hex()}"
        case list():
            return f"{{{', '.join(map(render_cell, cell))}}}"
    return str(cell)


def quoted(text: str) -> str:
    """The text in quotes. Spaces at its ends, combining marks and invisible characters are made visible."""
    return f'"{"".join(map(_seen, text))}"'


def _seen(character: str) -> str:
    if character == " " or "!" <= character <= "~":
        return _ESCAPES.get(character, character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if unicodedata.category(character) in _UNSEEN:
        code = ord(character)
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def shortened(expected: str, found: str) -> tuple[str, str]:
    """Both texts cut to LONGEST characters, from shortly before the first difference."""
    if len(expected) <= LONGEST and len(found) <= LONGEST:
        return expected, found
    same = next((place for place, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other), None)
    start = max(0, (min(len(expected), len(found)) if same is None else same) - _BEFORE)
    return _window(expected, start), _window(found, start)


def _window(text: str, start: int) -> str:
    """A part of the text, after its beginning, which names the type."""
    if len(text) <= LONGEST:
        return text
    head = "" if start <= _BEFORE else text[:_BEFORE] + "…"
    start = 0 if not head else start
    rest = text[start:]
    room = LONGEST - len(head)
    return head + (rest if len(rest) <= room else rest[: room - 1] + "…")
