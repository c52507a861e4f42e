"""Key ranges spread over a root collection, found without reading its documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from firelift.firestore.channel import Firestore
from firelift.firestore.discovery import DiscoveredRoot, ascending, server_cuts
from firelift.firestore.query import KeyRange
from firelift.firestore.read_first import first_documents

FIRST = 20
"""How many ids at the beginning of a collection show what its ids look like."""
LONGEST = 24
"""How many characters of the greatest id are searched for, at most."""
APART = 3
DIGITS = 6
SIGNS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"


def places(firestore: Firestore, root: DiscoveredRoot, parts: int, read_time: str) -> list[KeyRange]:
    """The root collection in at most `parts` key ranges without gap or overlap.

    Firestore itself cuts it; where it does not (the emulator, whose reads are free), the ids are taken as numbers. COUNT, by which
    extraction cuts in that case, took a minute for 30 000 documents, and does not help where all ids have a long common beginning.
    """
    cuts = server_cuts(firestore, root, parts, read_time)
    if cuts is None:
        least = _least(firestore, root, read_time)
        ids = [*least, _greatest(firestore, root, read_time, least[0])] if least else []
        cuts = ascending(root.keys, [f"{root.collection_id}/{name}" for name in between(ids, parts)])
    edges = [root.keys.start, *cuts, root.keys.end]
    return [KeyRange(start, end) for start, end in itertools.pairwise(edges)]


def between(ids: list[str], parts: int) -> list[str]:
    """Rising ids that cut the distance from the least to the greatest of these into `parts`, with ids as numbers in their characters."""
    plain = sorted({name for name in ids if name and not name.startswith("__")})
    if len(plain) < 2:
        return []
    prefix = _common(plain[0], plain[-1])
    rests = [name[len(prefix) :] for name in plain if name.startswith(prefix)]
    signs = sorted({sign for rest in rests for sign in rest})
    low, high = (_number(rest, signs) for rest in (rests[0], rests[-1]))
    found = [prefix + _word(low + (high - low) * part // parts, signs) for part in range(1, parts)]
    return sorted(name for name in set(found) if plain[0] < name <= plain[-1])


def between_two(low: str, high: str, signs: Sequence[str]) -> str | None:
    """The id in the middle between two, with ids as numbers in these characters and their own; None where there is none."""
    prefix = _common(low, high)
    known = sorted({*signs, *low[len(prefix) :], *high[len(prefix) :]})
    numbers = [_number(name[len(prefix) :], known) for name in (low, high)]
    found = prefix + _word(sum(numbers) // 2, known)
    return found if low < found < high else None


def _common(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(sign for sign, _ in same)


def _number(word: str, signs: list[str]) -> int:
    values = (signs.index(word[index]) if index < len(word) else 0 for index in range(DIGITS))
    return sum(value * len(signs) ** (DIGITS - 1 - place) for place, value in enumerate(values))


def _word(number: int, signs: list[str]) -> str:
    return "".join(signs[number // len(signs) ** place % len(signs)] for place in reversed(range(DIGITS)))


def _least(firestore: Firestore, root: DiscoveredRoot, read_time: str) -> list[str]:
    """The first ids of the root collection's own documents."""
    found = first_documents(firestore, KeyRange(), read_time, FIRST, root.collection_id)
    return [path.rsplit("/", 1)[1] for path, _ in found]


def _greatest(firestore: Firestore, root: DiscoveredRoot, read_time: str, least: str) -> str:
    def reaches(name: str) -> bool:
        return any(first_documents(firestore, KeyRange(f"{root.collection_id}/{name}"), read_time, 1, root.collection_id))

    return greatest_id(reaches, least)


def greatest_id(reaches: Callable[[str], bool], least: str) -> str:
    """The beginning of the greatest id, up to where it differs from the least: the emulator does not read keys in descending order.

    `reaches` says whether there is an id that is not less than this one.
    """
    greatest = ""
    while len(greatest) < min(LONGEST, len(_common(least, greatest)) + APART):
        low, high = -1, len(SIGNS)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if reaches(greatest + SIGNS[middle]) else (low, middle)
        if low < 0:
            break
        greatest += SIGNS[low]
    return greatest
