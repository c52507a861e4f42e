"""The Prefect server of a command: the one that the user has named, else a temporary one with a database of its own."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

import prefect
from prefect.context import refresh_global_settings_context
from prefect.settings import Settings, get_current_settings

from firelift.errors import ConfigurationError
from firelift.local.prefect_server.server import TemporaryServer, temporary_server
from firelift.local.proxies import THIS_MACHINE

API = "PREFECT_API_URL"
_earlier: set[str] = set()


class NoPrefectServer(ConfigurationError):
    """Prefect has no server: none is named, and it may not start a temporary one."""

    remedy = f"Name one in {API}, or set PREFECT_SERVER_EPHEMERAL_ENABLED=true."


def prefect_server() -> Callable[[], None]:
    """Has a server on its way; what is returned waits for it and has Prefect use it. Raises NoPrefectServer."""
    settings = _without_an_earlier_one()
    if settings.api.url is None and not settings.server.ephemeral.enabled:
        raise NoPrefectServer()
    if settings.api.url is not None or has_a_database(settings):
        return lambda: None
    stack = ExitStack()
    # Prefect sends the last events and log lines when the process ends, from what is registered after this and so called before it.
    atexit.register(stack.close)
    server = stack.enter_context(temporary_server(prefect.__version__, _environment(settings)))
    return lambda: _use(server, _patience(settings))


def _without_an_earlier_one() -> Settings:
    """The settings; an address that an earlier run of this process has left there is nobody's."""
    if os.environ.get(API) in _earlier:
        del os.environ[API]
        refresh_global_settings_context()
    return get_current_settings()


def is_temporary(address: str | None) -> bool:
    """Whether the server at this address was started for this process only, or there is none."""
    return address is None or address in _earlier


def has_a_database(settings: Settings) -> bool:
    """Whether the user has chosen what a server of his own knows: then Prefect starts it, as it always does."""
    of_prefect = f"sqlite+aiosqlite:///{settings.home}/prefect.db"
    chosen = settings.server.database.connection_url
    return (chosen is not None and chosen.get_secret_value() != of_prefect) or settings.results.default_storage_block is not None


def standstill_warning(settings: Settings, python: tuple[int, int] = sys.version_info[:2]) -> str | None:
    """What is to be said of the server that the user has named, as far as it can be seen from here.

    A server shows neither its database nor its Python to anybody. One of this machine that has the file open that these settings name
    can be known, and that it has the Python of this command is likely.
    """
    address, database = settings.api.url, settings.home / "prefect.db"
    if address is None or address in _earlier or urlsplit(address).hostname not in THIS_MACHINE or has_a_database(settings):
        return None
    # SQLite has this file beside a database as long as somebody has that open.
    if python != (3, 11) or not database.with_name("prefect.db-wal").exists():
        return None
    return (
        f"The Prefect server at {address} seems to keep its runs in SQLite ({database}). If it runs on Python 3.11, as this command does, "
        "it can stand still for a minute at a time: give it a PostgreSQL database, or Python 3.12 or newer."
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What has been set in files and profiles too, as Prefect hands it to a server of its own. Elsewhere than here ours serves nobody."""
    given = {**os.environ, **settings.to_environment_variables(exclude_unset=True)}
    return {name: value for name, value in given.items() if name != "PREFECT_SERVER_API_BASE_PATH"}


def _patience(settings: Settings) -> float:
    """Prefect's own 20 s are what a new database takes on a machine with two cores that do nothing else."""
    given = settings.server.ephemeral
    return given.startup_timeout_seconds if "startup_timeout_seconds" in given.model_fields_set else 180


def _use(server: TemporaryServer, seconds: float) -> None:
    server.wait(seconds)
    # For threads that begin with nothing, too, and to the very end: whoever finds no address starts a server.
    os.environ[API] = server.url
    _earlier.add(server.url)
    refresh_global_settings_context()
