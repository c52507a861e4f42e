"""A flow as the child of the task that calls it: the task is its node in the run graph."""

from __future__ import annotations

import copy
import functools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import TaskRunContext
from prefect.exceptions import CancelledRun, ObjectNotFound
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Cancelled, Pending
from prefect.utilities.callables import get_call_parameters

from firelift.errors import Stopped
from firelift.run.status import is_stop

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE = 20.0
_turn = threading.Lock()


def subflow(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `flow(...)` returns; its work runs beside that of others, while its beginning and end are told to the server one at a time.

    Prefect's server on SQLite takes two flow runs that change their state at once for a minute's wait each (its busy timeout), or refuses
    them (503): of six runs over six small collections three took 73 s instead of 12.
    """
    context = TaskRunContext.get()
    assert context is not None
    parent = context.task_run.id
    parameters = get_call_parameters(flow.fn, args, kwargs)
    client = client_of(PREFECT_API_URL.value())
    if not _known(client, parent):
        return flow(*args, **kwargs)
    with _turn:
        child = client.create_flow_run(flow, parameters=flow.serialize_parameters(parameters), parent_task_run_id=parent, state=Pending())
        with _without_heartbeat():
            try:
                return cast(R, run_flow(_out_of_turn(flow), flow_run=child, parameters=parameters))
            except CancelledRun as error:
                raise Stopped() from error


@contextmanager
def _without_heartbeat() -> Iterator[None]:
    """The migration itself has a heartbeat; to end a child's costs a second, in its turn."""
    if PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None:
        # To change a setting, Prefect validates all of them anew: 34 ms of a child's 85.
        yield
        return
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@functools.cache  # one takes 0.1 s to make
def client_of(api: str | None) -> SyncPrefectClient:
    """A client of the server that is `api` in the settings now. It stays open as long as the process."""
    return get_client(httpx_settings={"event_hooks": {"response": [_again_soon]}}, sync_client=True).__enter__()


def _out_of_turn(flow: Flow[P, R]) -> Flow[P, R]:
    """The same flow, whose own work gives others their turn and takes it back for the end."""
    work = flow.fn

    @functools.wraps(work)
    def working(*args: P.args, **kwargs: P.kwargs) -> R:
        _turn.release()
        try:
            return work(*args, **kwargs)
        except BaseException as error:
            if is_stop(error):
                return cast(R, Cancelled(message="stopped on request"))
            raise
        finally:
            _turn.acquire()

    patient = copy.copy(flow)
    patient.fn = working
    return patient


def _known(client: SyncPrefectClient, task_run: UUID) -> bool:
    """Waits until the server has recorded the task run, which it hears of through events."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client.read_task_run(task_run)
        except ObjectNotFound:
            time.sleep(0.05)
        else:
            return True
    return False


def _again_soon(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        response.headers.setdefault("Retry-After", "0.2")
