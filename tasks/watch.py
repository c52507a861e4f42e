"""Looks out for a request to stop, from wherever it comes: the working directory, the target, or the Prefect UI."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

Look = Callable[[], bool]

# Between a request and the last chunk at most 3 s are to pass.
EVERY = 1.0


class Watch:
    """A thread a look, which calls `stop` when its look says so. A look that fails has seen nothing; one that hangs keeps no other."""

    def __init__(self, looks: Sequence[Look], stop: Callable[[], None]) -> None:
        self._stop = stop
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(look,), name="firelift-watch", daemon=True) for look in looks]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _run(self, look: Look) -> None:
        while not self._over.wait(EVERY):
            if _seen(look):
                self._stop()
                return


def _seen(look: Look) -> bool:
    with suppress(Exception):  # a server that restarts has not asked for anything
        return look()
    return False


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
