"""What a wheel holds beside the engine: flows, tasks and expectations beneath `firelift/`, where they take nobody's names."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = ("flows", "tasks", "expectations", "prefect.yaml", "deployments/heartbeat.yaml", "deployments/automations")


class CarryWorkflow(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An editable install runs what stands in the checkout: a copy of it would grow old.
        if version != "editable":
            build_data["force_include"].update({name: f"firelift/workflow/{name}" for name in CARRIED})
