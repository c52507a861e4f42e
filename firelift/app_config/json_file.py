"""Changes values in the text of a JSON file and nothing else: indentation, order and the spelling of all other values stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from firelift.settings.types import JSON

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
_decoder = json.JSONDecoder()


class Member(NamedTuple):
    """A name in an object: where it begins, and where its value does and ends."""

    key: str
    begin: int
    start: int
    end: int


def edit(text: str, values: Mapping[str, JSON]) -> str:
    """The text with these values; `a.b` is `b` in the object `a`, unless there is a member named `a.b`.

    Text that replaces a number or a boolean becomes one if it can be read as one. Raises ValueError, which never quotes the file.
    """
    _object(text)
    for name, value in values.items():
        parts = name.split(".")
        if not all(parts):
            raise ValueError(f"{name!r} is not a name: dots separate names")
        text = _set(text, _skip(text, 0), parts, value)
    return text


def read(text: str) -> dict[str, JSON]:
    """The values by dotted name: objects themselves, and their members."""
    return _named("", _object(text))


def _named(prefix: str, values: Mapping[str, JSON]) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _named(f"{prefix}{name}.", value)
        found[prefix + name] = value
    return found


def _object(text: str) -> dict[str, JSON]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno} is not JSON") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _set(text: str, at: int, parts: Sequence[str], value: JSON) -> str:
    """The text with the value below the object that begins `at`."""
    members, close = _members(text, at)
    # If a name occurs twice, the last one counts.
    by_name = {member.key: member for member in members}
    if (whole := by_name.get(".".join(parts))) is not None:
        return _replace(text, whole, value)
    inner = by_name.get(parts[0])
    if inner is not None:
        if text[inner.start] != "{":
            raise ValueError(f"{parts[0]!r} is not an object that could hold {'.'.join(parts[1:])!r}")
        return _set(text, inner.start, parts[1:], value)
    for part in reversed(parts[1:]):
        value = {part: value}
    return _insert(text, at, close, members, parts[0], value)


def _members(text: str, at: int) -> tuple[list[Member], int]:
    """The members of the object that begins `at`, and where its brace closes. The text is known to be JSON."""
    members: list[Member] = []
    position = _skip(text, at + 1)
    while text[position] != "}":
        key, end = _decoder.raw_decode(text, position)
        start = _skip(text, _skip(text, end) + 1)
        _, stop = _decoder.raw_decode(text, start)
        members.append(Member(key, position, start, stop))
        position = _skip(text, stop)
        if text[position] == ",":
            position = _skip(text, position + 1)
    return members, position


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _replace(text: str, member: Member, value: JSON) -> str:
    present = _decoder.raw_decode(text, member.start)[0]
    typed = _typed(value, present)
    if json.dumps(typed, sort_keys=True) == json.dumps(present, sort_keys=True):
        return text
    return text[: member.start] + _dumped(text, member.begin, typed) + text[member.end :]


def _typed(value: JSON, present: Any) -> JSON:
    """NAME=VALUE on a command line has no type; the value that it replaces has one."""
    if not isinstance(value, str):
        return value
    if isinstance(present, bool):
        return {"true": True, "false": False}.get(value, value)
    if isinstance(present, int | float) and _NUMBER.fullmatch(value):
        number: JSON = json.loads(value)
        return number
    return value


def _insert(text: str, at: int, close: int, members: Sequence[Member], key: str, value: JSON) -> str:
    """The text with one member more, written in the style of the others."""
    if members:
        last = members[-1]
        colon = text[_key_end(text, last) : last.start]
        space = re.search(r"\s*$", text[: last.begin])
        assert space is not None
        lead = space[0] or (" " if colon.endswith(" ") else "")
        added = f",{lead}{_quoted(key)}{colon}{_dumped(text, last.begin, value)}"
        return text[: last.end] + added + text[last.end :]
    if "\n" not in text:
        return f"{text[: at + 1]}{_quoted(key)}: {json.dumps(value, ensure_ascii=False)}{text[close:]}"
    outer = _newline(text) + _indentation(text, at)
    deeper = outer + _unit(text)
    dumped = json.dumps(value, ensure_ascii=False, indent=_unit(text)).replace("\n", deeper)
    return f"{text[: at + 1]}{deeper}{_quoted(key)}: {dumped}{outer}{text[close:]}"


def _key_end(text: str, member: Member) -> int:
    return _decoder.raw_decode(text, member.begin)[1]


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def _dumped(text: str, at: int, value: JSON) -> str:
    """The value as it is written in the line of the name that begins `at`."""
    begins_line = not text[text.rfind("\n", 0, at) + 1 : at].strip()
    if isinstance(value, dict | list) and begins_line and "\n" in text:
        return json.dumps(value, ensure_ascii=False, indent=_unit(text)).replace("\n", _newline(text) + _indentation(text, at))
    return json.dumps(value, ensure_ascii=False)


def _indentation(text: str, at: int) -> str:
    found = re.compile(r"[ \t]*").match(text, text.rfind("\n", 0, at) + 1)
    assert found is not None
    return found[0]


def _unit(text: str) -> str:
    found = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return found[1] if found else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
