"""Great Expectations suites: what must hold of migrated tables, level by level.

Great Expectations takes seconds to import, so nothing of it is imported before `preload()` or `validate()` is called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import LazyLoader, find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firelift.planning.model import Plan
    from firelift.postgres.session.connect import Session
    from firelift.receipts import Verified
    from firelift.verification.proof import Proof


def preload() -> None:
    """Imports Great Expectations, in a thread while data still flows."""
    _import_when_used("scipy.stats")
    import_module("expectations.validation")


def _import_when_used(name: str) -> None:
    """Great Expectations imports scipy.stats for expectations that we do not have: a quarter of its five seconds."""
    # Asked for its spec, a module that is not used yet would be loaded.
    spec = None if name in sys.modules else find_spec(name)
    if spec is None or spec.loader is None:
        return
    spec.loader = LazyLoader(spec.loader)
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    package, _, last = name.rpartition(".")
    setattr(sys.modules[package], last, module)


def validate(
    session: Session, plan: Plan, proof: Proof, results: Path, migration_id: str, check: Callable[[], None] = lambda: None
) -> Verified:
    """Validates tables and proof against the suites of the proof's level; writes `verification.json` and `data-docs/` into `results`.

    `session` opens its connections. Wrong data is reported in the result; errors are raised where
    nobody could look, such as ConnectionLost. `check` is called before every suite, and may raise.
    """
    preload()
    from expectations.validation import validate

    return validate(session, plan, proof, results, migration_id, check)
