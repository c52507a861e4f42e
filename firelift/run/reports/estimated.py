"""The estimate of a full run, in lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firelift.formatting import count, duration, size


def estimate_lines(estimate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What, and how much."""
    seconds, price, disk = estimate["seconds"], estimate["price"], estimate["diskBytes"]
    return [
        ("Documents", count(estimate["documents"])),
        ("Firestore reads billed", count(estimate["reads"]["total"])),
        (f"Price, at ${price['perHundredThousandReads']:g} for 100,000 reads", "?" if price["usd"] is None else f"${price['usd']:,.2f}"),
        ("Time" if seconds["earlierRun"] else "Time, at most", "?" if seconds["total"] is None else duration(seconds["total"])),
        ("Disk for archive and tables, at most", "?" if disk["total"] is None else size(disk["total"])),
        ("Room in the target, at most", "?" if estimate["targetBytes"] is None else size(estimate["targetBytes"])),
    ]
