"""The flows as Prefect deployments name them: `firelift.deployed.migration` is found wherever Firelift is installed."""

from __future__ import annotations

from typing import Any

from firelift.workflow_path import put_workflow_first

put_workflow_first()

from flows import check as checks  # noqa: E402
from flows import rollback as rollbacks  # noqa: E402
from flows import verification as verifications  # noqa: E402
from flows.migration import migration  # noqa: E402

__all__ = ["check", "migration", "rollback", "verify"]

# Whoever starts one of them, with `run_deployment(...)`, gets what it returns; a migration keeps its report itself.
KEPT: dict[str, Any] = {"persist_result": True, "result_serializer": "json"}

check = checks.check.with_options(**KEPT)
rollback = rollbacks.rollback.with_options(**KEPT)
verify = verifications.verify.with_options(**KEPT)
