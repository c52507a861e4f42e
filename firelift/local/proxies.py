"""The proxy that the environment names is for the network, not for servers on this machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, MutableMapping
from urllib.parse import urlsplit

THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
EXCEPTIONS = ("NO_PROXY", "no_proxy")
# Those that Prefect's HTTP client reads, and cannot even be made where one of them is beyond it.
READ = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
SPOKEN = frozenset({"http", "https"})
WITH_SOCKSIO = frozenset({"socks5", "socks5h"})


def spare_this_machine(environment: MutableMapping[str, str]) -> list[str]:
    """From here on, this process and those it starts reach servers on this machine directly, and everything else as before.

    Returns the variables that were taken away, because no HTTP client could be made with them.
    """
    beyond = list(_beyond_us(environment))
    for name in beyond:
        del environment[name]
    if any(_names_a_proxy(name) and value for name, value in environment.items()):
        # One that is there counts, empty or not, and may overrule the other: neither is made beside it.
        for name in [name for name in EXCEPTIONS if name in environment] or EXCEPTIONS:
            environment[name] = _with_this_machine(environment.get(name, ""))
    return beyond


def _names_a_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy") and name.upper() not in EXCEPTIONS


def _with_this_machine(exceptions: str) -> str:
    listed = [host.strip() for host in exceptions.split(",") if host.strip()]
    # Some read it only where it is the only entry.
    if "*" in listed:
        return exceptions
    return ",".join([*listed, *(host for host in THIS_MACHINE if host not in listed)])


def _beyond_us(environment: MutableMapping[str, str]) -> Iterator[str]:
    spoken = SPOKEN | (WITH_SOCKSIO if importlib.util.find_spec("socksio") else frozenset())
    for name, value in environment.items():
        if name.upper() in READ and value and not _is_spoken(value, spoken):
            yield name


def _is_spoken(proxy: str, spoken: frozenset[str]) -> bool:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return parts.scheme.lower() in spoken and parts.port != 0
    except ValueError:
        return False
