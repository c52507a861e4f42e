"""Keeps secrets out of every text that is shown or written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO
from urllib.parse import quote

from firelift.settings.secret_shapes import opens_a_project

MASK = "***"

# A password inside any address, including those of unknown connections.
_IN_ADDRESS = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@:'\"]*:[^\s/@'\"]*@", re.IGNORECASE)
# One that PostgreSQL would take: there a raw @ or / in the password leaves the rest of it behind the first @.
_IN_DATABASE_URL = re.compile(r"(?P<scheme>\bpostgres(?:ql)?(?:\+\w+)?://)[^\s@:'\"]*:[^\s'\"]*@", re.IGNORECASE)
# A private key, also with its line ends escaped, and one that is cut off.
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_SUPABASE = re.compile(r"\bsb_secret_[\w-]+")
_JWT = re.compile(r"\beyJ[\w-]+\.(?P<claims>[\w-]+)\.[\w-]*")
_IN_DSN = re.compile(r"(?P<key>\b(?:ssl)?password=)(?:'[^']*'|[^\s&'\"]+)", re.IGNORECASE)

# Shorter ones are masked as whole words only: with the password `postgres` every `postgresql://` would else be unreadable.
_ANYWHERE_FROM = 12


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text with every secret, however it is escaped, and every password in an address as `***`."""
    for spelled in sorted({variant for secret in secrets for variant in _spellings(secret)}, key=len, reverse=True):
        text = _mask(text, spelled)
    return _without_unknown_secrets(text)


def _without_unknown_secrets(text: str) -> str:
    """Masks what is not known as a secret but cannot be anything else."""
    if "://" in text:
        text = _IN_ADDRESS.sub(rf"\g<scheme>{MASK}@", _IN_DATABASE_URL.sub(rf"\g<scheme>{MASK}@", text))
    if "-----BEGIN" in text:
        text = _PEM.sub(MASK, text)
    if "eyJ" in text:
        text = _JWT.sub(lambda found: MASK if opens_a_project(found["claims"]) else found[0], text)
    return _IN_DSN.sub(rf"\g<key>{MASK}", _SUPABASE.sub(MASK, text))


def clean(value: object, secrets: Sequence[str] = ()) -> Any:
    """Any value as JSON with the secrets masked; what JSON has no word for becomes text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {redact(str(key), secrets): clean(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, secrets) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return redact(str(value), secrets)


class RedactedStream:
    """A text stream that masks what is written to it: also what libraries and tracebacks write."""

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        self._stream = stream
        # The collection itself, not a copy: secrets become known after the stream is in place.
        self._secrets = secrets

    def write(self, text: str) -> int:
        self._stream.write(redact(text, self._secrets))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _spellings(secret: str) -> set[str]:
    """The secret as addresses, JSON and Python's repr spell it."""
    spelled = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return {spelling for spelling in spelled if spelling.strip()}


def _mask(text: str, secret: str) -> str:
    if len(secret) >= _ANYWHERE_FROM:
        return text.replace(secret, MASK)
    if secret not in text:
        return text
    return re.sub(rf"(?<![A-Za-z0-9_]){re.escape(secret)}(?![A-Za-z0-9_])", MASK, text)
