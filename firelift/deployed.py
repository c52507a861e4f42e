"""The flows as Prefect deployments name them: `firelift.deployed.migration` is found wherever Firelift is installed."""

from __future__ import annotations

from firelift.workflow_path import put_workflow_first

put_workflow_first()

from flows.migration import migration  # noqa: E402
from flows.rollback import rollback  # noqa: E402
from flows.verification import verify  # noqa: E402

__all__ = ["migration", "rollback", "verify"]
