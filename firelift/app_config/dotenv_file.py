"""Changes values in the text of a dotenv file and nothing else: comments, order, quotes and `export` stay."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping

from dotenv.parser import Binding, parse_stream

from firelift.settings.types import JSON

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_BLANK = r"[^\S\r\n]*"
_HEAD = re.compile(rf"\s*(?P<export>export[^\S\r\n]+)?(?:'[^']+'|[^=\#\s]+){_BLANK}")
_EQUALS = re.compile(f"={_BLANK}")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
# As far as a comment, which begins with white space.
_UNQUOTED = re.compile(rf"[^\r\n]*?(?=(?:[^\S\r\n]+\#[^\r\n]*)?{_BLANK}[\r\n]*$)")
# Nothing that any reader of such files, a shell among them, takes for something else.
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=?&-]*")
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}


def edit(text: str, values: Mapping[str, JSON]) -> str:
    """The text with these values. A name that occurs several times gets its value everywhere; a new one gets a line at the end.

    Raises ValueError, which never quotes the file: it holds secrets.
    """
    wanted = {_checked(name): as_text(name, value) for name, value in values.items()}
    bindings = _parsed(text)
    changed = "".join(_changed(binding, wanted) for binding in bindings)
    missing = {name: value for name, value in wanted.items() if name not in {binding.key for binding in bindings}}
    return _proved(changed + _appended(changed, missing, bindings), bindings, wanted)


def read(text: str) -> dict[str, JSON]:
    """The values by name; if a name occurs several times, its last value."""
    return {binding.key: binding.value for binding in _parsed(text) if binding.key is not None}


def as_text(name: str, value: JSON) -> str:
    """A value as the environment can hold it: anything but text as JSON, null as nothing."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    if "\0" in text:
        raise ValueError(f"the value of {name} holds a NUL character")
    return text


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name for a variable")
    return name


def _parsed(text: str) -> list[Binding]:
    bindings = list(parse_stream(io.StringIO(text)))
    for binding in bindings:
        if binding.error:
            line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
            raise ValueError(f"line {line} is not NAME=value")
    return bindings


def _changed(binding: Binding, wanted: Mapping[str, str]) -> str:
    line: str = binding.original.string
    if binding.key is None or binding.key not in wanted or binding.value == wanted[binding.key]:
        return line
    head, value, after = _apart(line)
    return head + _spelled(wanted[binding.key], value[:1]) + after


def _apart(line: str) -> tuple[str, str, str]:
    """A line in three parts: before the value, the value as it is spelled, and after it."""
    head = _HEAD.match(line)
    assert head is not None
    equals = _EQUALS.match(line, head.end())
    if equals is None:  # a name alone
        return line[: head.end()].rstrip() + "=", "", line[head.end() :]
    before, rest = line[: equals.end()], line[equals.end() :]
    if rest.startswith("#"):  # to python-dotenv a value, to everybody else a comment
        return line[: head.end()] + "=", "", line[head.end() + 1 :]
    value = _QUOTED.match(rest) or _UNQUOTED.match(rest)
    assert value is not None
    return before, value[0], rest[value.end() :]


def _spelled(value: str, quote: str) -> str:
    """The value in the quotes that were there, where that means the same to all readers."""
    if quote not in ("'", '"') and _PLAIN.fullmatch(value):
        return value
    if quote == '"' and not re.search(r"[\\\"$`\r\n]", value):
        return f'"{value}"'
    if not re.search(r"['\\\r\n]", value):
        return f"'{value}'"
    return '"' + "".join(_ESCAPED.get(character, character) for character in value) + '"'


def _appended(text: str, missing: Mapping[str, str], bindings: list[Binding]) -> str:
    if not missing:
        return ""
    newline = "\r\n" if "\r\n" in text else "\n"
    heads = [_HEAD.match(binding.original.string) for binding in bindings if binding.key is not None]
    export = "export " if heads and all(head and head["export"] for head in heads) else ""
    begin = newline if text and not text.endswith(("\n", "\r")) else ""
    return begin + "".join(f"{export}{name}={_spelled(value, '')}{newline}" for name, value in missing.items())


def _proved(text: str, before: list[Binding], wanted: Mapping[str, str]) -> str:
    """The text, if it reads as it should: what was asked for is there, and everything else is what it was."""
    held = [(binding.key, wanted.get(binding.key, binding.value)) for binding in before if binding.key is not None]
    held += [(name, value) for name, value in wanted.items() if name not in {name for name, _ in held}]
    if [(binding.key, binding.value) for binding in _parsed(text) if binding.key is not None] != held:
        raise ValueError(f"it cannot be changed in such a way that only {', '.join(wanted)} would differ")
    return text
