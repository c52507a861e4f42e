"""Deployments as an operator runs them: commands `prefect …`, workers, and what a run of a deployment has left on the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM
from typing import Any

from firelift.local.server import ServerProcess
from tests.support.command_line import Said
from tests.support.forking import Forked
from tests.support.prefect_servers import CHECKOUT, PREFECT, Api, environment, eventually
from tests.support.warm_commands import read_settings_of_prefect, warm_server
from tests.support.warm_python import INTERPRETER, begin_as, warm_python

PROGRAM = "tests.support.deployments:become"


def start(api: str, deployment: str, *parameters: str, flow: str = "migration") -> tuple[int, str]:
    """Runs a deployment and waits for its end; returns exit code and output."""
    given = [argument for parameter in parameters for argument in ("--param", parameter)]
    done = called("cli", api, "deployment", "run", f"{flow}/{deployment}", "--watch", "--watch-interval", "1", *given)
    return done.code, done.out + done.err


def retry(api: str, run: str) -> Said:
    """`prefect flow-run retry`."""
    return called("cli", api, "flow-run", "retry", run)


def result_of(api: str, deployment: str, **parameters: str | int) -> Any:
    """What `run_deployment(...)` gets of a run."""
    done = called("result", api, deployment, json.dumps(parameters))
    assert done.code == 0, done.err
    return json.loads(done.out.partition("result:")[2])


@contextmanager
def worker(api: str, directory: Path, **more: str) -> Iterator[None]:
    """A process worker of the pool `firelift`, started outside of the checkout. It and its runs are forks, and start no interpreter."""
    request = {
        "kind": "worker",
        "arguments": [],
        "environment": _of_a_worker(api, directory, more) | {INTERPRETER: warm_python()},
        "directory": "/",
    }
    with (directory / "worker.log").open("ab") as log:
        process = Forked(warm_server().fork(PROGRAM, request, [log.fileno(), log.fileno()]))
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def worker_as_usual(api: str, directory: Path, **more: str) -> Iterator[None]:
    """The same as an operator starts it."""
    environment = _of_a_worker(api, directory, more)
    process = ServerProcess([PREFECT, *STARTED], log=directory / "worker.log", environment=environment)
    try:
        yield
    finally:
        process.stop(SIGTERM)


STARTED = ["worker", "start", "--pool", "firelift", "--type", "process"]


def _of_a_worker(api: str, directory: Path, more: Mapping[str, str]) -> dict[str, str]:
    directory.mkdir(parents=True, exist_ok=True)
    own = {
        "PREFECT_API_URL": api,
        "FIRELIFT_HOME": str(CHECKOUT),
        "PREFECT_LOCAL_STORAGE_PATH": str(directory / "results"),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    return environment(**{**own, **more})


def called(kind: str, api: str, *arguments: str) -> Said:
    """A command in the checkout, as a fork of a process that has Prefect loaded, which takes a new one two seconds."""
    (out, out_there), (err, err_there) = os.pipe(), os.pipe()
    request = {"kind": kind, "arguments": arguments, "environment": environment(PREFECT_API_URL=api), "directory": str(CHECKOUT)}
    reply = warm_server().fork(PROGRAM, request, [out_there, err_there])
    os.close(out_there)
    os.close(err_there)
    with Forked(reply, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8")) as process:
        said = process.communicate(300)
    return Said(process.wait(), *said)


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """The command, in the process that was forked for it."""
    os.setsid()
    for place, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", 1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    read_settings_of_prefect()
    _KINDS[request["kind"]](*request["arguments"])


def _cli(*arguments: str) -> None:
    from prefect.cli import app

    sys.argv = ["prefect", "--no-prompt", *arguments]
    app()


def _result(deployment: str, parameters: str) -> None:
    from prefect.deployments import run_deployment

    run: Any = run_deployment(deployment, parameters=json.loads(parameters), poll_interval=1, as_subflow=False)
    print("result:", json.dumps(run.state.result()))


def _worker() -> None:
    begin_as(os.environ[INTERPRETER])
    _cli(*STARTED)


_KINDS: dict[str, Callable[..., None]] = {"cli": _cli, "result": _result, "worker": _worker}


def subflows_below(api: Api, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The flow runs that the run's tasks have started."""
    tasks = {task["id"] for task in api.tasks_of(run["id"])}
    return [each for each in api.every("flow_runs") if each["parent_task_run_id"] in tasks]


def logs_of(api: Api, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was logged of a flow run and its tasks, when all of it has come."""

    def there() -> list[dict[str, Any]]:
        logged = api.every("logs", logs={"flow_run_id": {"any_": [run["id"]]}}, sort="TIMESTAMP_ASC")
        # Tasks say so of themselves before it.
        ended = (entry for entry in logged if entry["task_run_id"] is None and "Finished in state" in entry["message"])
        return logged if any(ended) else []

    logged: list[dict[str, Any]] = eventually(60, there)
    return logged


def source(emulator_host: str, project: str) -> dict[str, str]:
    return {"FIRESTORE_EMULATOR_HOST": emulator_host, "GOOGLE_CLOUD_PROJECT": project}
