"""Draws the documents of a table that are compared, by a seed, spread over all of its keys."""

from __future__ import annotations

import random
import secrets
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from firelift.verification.inputs import StoredChunk

Chosen = Mapping[int, Sequence[int] | None]
"""By the number of the chunk: places among the collection's stored documents in it; None: all of them."""


def new_seed() -> str:
    """An unpredictable seed. Recorded, it draws the same sample again."""
    return secrets.token_hex(8)


def draw(collection: str, stored: Sequence[int], wanted: int | None, seed: str) -> Chosen:
    """Draws `wanted` of a collection's documents (None: all). `stored` is how many of them each chunk has, in the order of their keys.

    The documents are divided into as many equal parts as are wanted, and one is drawn from each. A collection with no more documents
    is taken whole.
    """
    total = sum(stored)
    if wanted is None or total <= wanted:
        return {chunk: None for chunk, count in enumerate(stored) if count}
    chance = random.Random(f"{seed}:{collection}")
    ends = list(accumulate(stored))
    chosen: dict[int, list[int]] = {}
    for part in range(wanted):
        place = chance.randrange(part * total // wanted, (part + 1) * total // wanted)
        chunk = bisect_right(ends, place)
        chosen.setdefault(chunk, []).append(place - (ends[chunk] - stored[chunk]))
    return chosen


def draw_documents(collection: str, chunks: Sequence[StoredChunk], wanted: int | None, seed: str) -> Chosen:
    """`draw` among the documents of a collection that these archive chunks store."""
    stored = [chunk.tables[collection].rows if collection in chunk.tables else 0 for chunk in chunks]
    return draw(collection, stored, wanted, seed)
