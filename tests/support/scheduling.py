"""Which tests are run by one process."""

from __future__ import annotations

from typing import Any, Final

DEPLOYED: Final = "tests/acceptance/test_deploy"
"""Files whose tests share the deployments of a Prefect server, and its one pool of workers."""


def by_files(config: Any, log: Any) -> Any:
    """xdist's way by files, except that those with deployments go together."""
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class ByFiles(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return DEPLOYED if nodeid.startswith(DEPLOYED) else str(super()._split_scope(nodeid))

    return ByFiles(config, log)
