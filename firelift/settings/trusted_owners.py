"""The roles beside the migrating one whose tables are written, as they travel in the database URL to every connection."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

PARAMETER = "trust_owner"


def with_trusted(url: str, owners: Iterable[str]) -> str:
    """The URL that also says whom to trust. No parameter of PostgreSQL's: `firelift.postgres.session.connect` takes it out again."""
    listed = ",".join(quote(owner, safe="") for owner in owners)
    return f"{url}{'&' if '?' in url else '?'}{PARAMETER}={listed}" if listed else url


def trusted_in(url: str) -> tuple[str, ...]:
    found = re.findall(rf"[?&]{PARAMETER}=([^&]*)", url)
    return tuple(unquote(owner) for owner in found[-1].split(",")) if found else ()
