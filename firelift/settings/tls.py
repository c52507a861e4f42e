"""Whether the way to the target must be encrypted, and the database URL that says so."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

SUPABASE = (".supabase.co", ".supabase.com")
ENCRYPTED = ("require", "verify-ca", "verify-full")


def with_tls(url: str, required: bool | None, environment: Mapping[str, str]) -> str:
    """The URL, with `sslmode=require` where encryption is required (None: where a host is Supabase's) and the URL asks for less.

    Then libpq ends the connection before the password is sent if the server offers none. `environment` has PGSSLMODE and PGHOST.
    """
    must = any(map(is_supabase, hosts_of(url, environment))) if required is None else required
    if not must or _last(url, "sslmode", environment.get("PGSSLMODE", "")) in ENCRYPTED:
        return url
    # If a parameter occurs twice, libpq takes the last.
    return f"{url}{'&' if urlsplit(url).query else '?' if '?' not in url else ''}sslmode=require"


def hosts_of(url: str, environment: Mapping[str, str]) -> list[str]:
    """The hosts that a connection may be made to, without ports."""
    listed = _last(url, "host", urlsplit(url).netloc.rpartition("@")[2] or environment.get("PGHOST", ""))
    return [_without_port(host) for host in listed.split(",") if host]


def is_supabase(host: str) -> bool:
    return host.lower().rstrip(".").endswith(SUPABASE)


def is_beyond(host: str, address: str) -> bool:
    """Whether a connection leaves this machine: not to a socket in the file system, nor to the machine's own loopback."""
    if host.startswith(("/", "@")) or not (host or address):
        return False
    try:
        return not ip_address(address or host).is_loopback
    except ValueError:
        return host.lower() != "localhost"


def _last(url: str, name: str, otherwise: str) -> str:
    return parse_qs(urlsplit(url).query).get(name, [otherwise])[-1]


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
