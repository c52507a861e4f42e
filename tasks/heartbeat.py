"""Tells Prefect now and then that a run lives; the automation in `deployments/` marks one Crashed that has fallen silent.

Prefect does so itself, from a thread that sleeps a second at a time and that the end of a flow waits for: a run that a command
carries out would be over half a second later.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

_seconds: list[int] = []
"""Between two heartbeats, where they are ours."""


@contextmanager
def own_heartbeat() -> Iterator[None]:
    """Flows that are called inside have `heartbeat()` in place of Prefect's."""
    every = PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        _seconds[:] = [every] if every else []
        try:
            yield
        finally:
            _seconds.clear()


@contextmanager
def heartbeat() -> Iterator[None]:
    """Inside, the flow run that this thread carries out has a heartbeat, unless Prefect gives it one."""
    over = threading.Event()
    context = FlowRunContext.get()
    if not _seconds or context is None or context.flow_run is None or context.flow is None:
        yield
        return
    run, flow, every = context.flow_run, context.flow, _seconds[0]

    def beat() -> None:
        while True:
            emit_event(
                event="prefect.flow-run.heartbeat",
                resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name or ""},
                related=[
                    {
                        "prefect.resource.id": f"prefect.flow.{run.flow_id}",
                        "prefect.resource.role": "flow",
                        "prefect.resource.name": flow.name,
                    }
                ],
            )
            if over.wait(every):
                return

    thread = threading.Thread(target=contextvars.copy_context().run, args=(beat,), name="firelift-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
