"""Firelift moves a Firestore database into PostgreSQL, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firelift.migration.api import MigrationRun, Settings, migrate, open_run, plan

__version__ = "0.1.0"
__all__ = ["MigrationRun", "Settings", "__version__", "migrate", "open_run", "plan"]


def __getattr__(name: str) -> Any:
    """The Python API, imported when it is first used: the command's help needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from firelift.migration import api

    return getattr(api, name)
