"""The messages of Firestore's API, without its clients, whose import takes a quarter of a second per process."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from google.cloud.firestore_v1 import types

__all__ = ["types"]

_PACKAGE: Final = "google.cloud.firestore_v1"


def _types_alone() -> Any:
    spec = find_spec(_PACKAGE)
    if spec is None or _PACKAGE in sys.modules:
        return import_module(f"{_PACKAGE}.types")
    # A package that is there already is not executed for its modules' sake.
    sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        return import_module(f"{_PACKAGE}.types")
    finally:
        # Whoever imports the package itself gets it whole.
        del sys.modules[_PACKAGE]


if not TYPE_CHECKING:
    types = _types_alone()
