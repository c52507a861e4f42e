"""What every receipt has in common, and how counts of several are added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict


class Receipt(BaseModel):
    model_config = ConfigDict(frozen=True)


class PhaseReceipt(Receipt):
    """A whole phase, summed over the collections."""

    totalRecords: int = 0  # noqa: N815 - a name that readers of the checkpoint look for
    collections: int = 0


def by_root(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by collection path, added up by root collection."""
    return tallied([{collection.partition("/")[0]: count} for collection, count in counts.items()])


def shared(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Documents and bytes by root collection, added up."""
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for name, counts in part.items():
            total[name] = tallied([total.get(name, {}), dict(counts)])
    return total


def tallied(parts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total
