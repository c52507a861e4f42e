"""The flow run that is carried out now: which it is, whether somebody has cancelled it, and the heartbeat that says that it lives.

Prefect sends a heartbeat itself, from a thread that sleeps a second at a time and that the end of a flow waits for: a run that a command
carries out would end over half a second later. The automation in `deployments/` marks a run Crashed whose heartbeat has stopped.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from firelift.run.stop_watch import Look
from tasks.prefect_server import is_temporary

Happening = Literal["started", "published", "failed", "rolled-back", "stopped"]

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


def announce(what: Happening, migration_id: str, labels: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Has Prefect's server know, as an event, what became of a migration; automations choose among events by their labels.

    Events tell and decide nothing: their errors are let go. A temporary server has nobody who listens.
    """
    if not is_temporary(PREFECT_API_URL.value()):
        resource = {"prefect.resource.id": f"firelift.migration.{migration_id}", "prefect.resource.name": migration_id}
        with suppress(Exception):
            emit_event(event=f"firelift.migration.{what}", resource=resource | dict(labels), payload=dict(facts))


@contextmanager
def cancelled_in_prefect() -> Iterator[Look]:
    """Whether somebody cancelled the flow run that is being carried out now."""
    flow_run = current_flow_run()
    with ExitStack() as stack:

        @cache  # with a new one a look took 24 ms of CPU instead of 1.4
        def client() -> SyncPrefectClient:
            # Made by the thread that looks: the flow's own thread would get the client that Prefect itself uses there.
            return stack.enter_context(get_client(sync_client=True))

        def look() -> bool:
            if flow_run is None:
                return False
            state = client().read_flow_run(flow_run.id).state
            return state is not None and (state.is_cancelling() or state.is_cancelled())

        yield look


def current_flow_run() -> FlowRun | None:
    """The flow run that this thread is carrying out."""
    context = FlowRunContext.get()
    return context.flow_run if context and isinstance(context.flow_run, FlowRun) else None
