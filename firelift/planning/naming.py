"""Names of tables and columns: what a Firestore name becomes in Postgres."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from typing import Literal

Naming = Literal["snake_case", "preserve"]

# Postgres silently cuts identifiers at 63 bytes (NAMEDATALEN - 1). It reserves these names, even when quoted.
MOST_BYTES = 63
IMPOSSIBLE = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
OURS = "firestore_"

_BOUND = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[\W_]+")


def snake_case(name: str) -> str:
    """`userID` → `user_id`, `HTTPServer` → `http_server`, `first name` → `first_name`, `2fa` → `_2fa`."""
    text = _OTHER.sub("_", _BOUND.sub("_", name)).lower()
    return "_" + text if text[:1].isdigit() else text


def preserve(name: str) -> str:
    """The name itself, with U+FFFD for NUL, which no identifier can have."""
    return name.replace("\0", "\ufffd")


CONVERSIONS: dict[Naming, Callable[[str], str]] = {"snake_case": snake_case, "preserve": preserve}


def shortened(name: str, original: str) -> str:
    """At most 63 bytes: longer names keep 54 and end in `_` and 8 digits of the original's SHA-256."""
    if len(name.encode()) <= MOST_BYTES:
        return name
    kept = name.encode()[:54].decode(errors="ignore")
    return f"{kept}_{hashlib.sha256(original.encode()).hexdigest()[:8]}"


class Names:
    """Gives out names that are free in one table or schema; a name is given only once."""

    def __init__(self, naming: Naming, taken: Collection[str] = (), reserved: Collection[str] = ()) -> None:
        self._convert = CONVERSIONS[naming]
        self._taken = set(taken)
        self._reserved = set(reserved)

    def give(self, original: str) -> str:
        """The name for `original`. Call in byte order of the originals: a collision becomes `_2`, `_3`, …"""
        converted = self._convert(original)
        if not converted or converted in self._reserved or converted in IMPOSSIBLE or converted.startswith(OURS):
            converted = f"field_{converted}"
        return self.take_free(shortened(converted, original))

    def take_free(self, wanted: str) -> str:
        """`wanted`, or the first of `wanted_2`, `wanted_3`, … that is free."""
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            suffix = f"_{number}"
            name = wanted.encode()[: MOST_BYTES - len(suffix)].decode(errors="ignore") + suffix
        self._taken.add(name)
        return name


def key_names(collection: str, naming: Naming) -> list[str]:
    """`users_id`, `orders_id`, `id` for `users/*/orders/*/items`."""
    names = Names("preserve", taken={"id"})
    ancestors = collection.split("/")[:-1:2]
    return [*(names.take_free(shortened(CONVERSIONS[naming](ancestor) + "_id", ancestor)) for ancestor in ancestors), "id"]
