"""Commands `firelift …` as processes that need not import anything: forks of a process that has all libraries loaded.

Each is a real process with its own id, session, environment, directory and files, which signals reach and kill; what it does not do
is to start an interpreter. Commands of which the start itself matters are started in the ordinary way.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.support.forking import Forked, ForkServer, serve
from tests.support.prefect_servers import CHECKOUT
from tests.support.warm_workers import fork_while_alone


class WarmServer(ForkServer):
    """The process that forks, one for each process of pytest."""

    def __init__(self) -> None:
        super().__init__()
        self._home = tempfile.TemporaryDirectory(prefix="firelift-warm-")
        program = f"from tests.support.warm_commands import serve_warm; serve_warm({self.theirs.fileno()})"
        environment = {"PATH": os.defpath, "HOME": self._home.name, "LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT), **QUIET, **ONE_THREAD}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            pass_fds=[self.theirs.fileno()],
            start_new_session=True,
        )
        self.theirs.close()


QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "NO_GCE_CHECK": "true", "GRPC_ENABLE_FORK_SUPPORT": "0"}
# A process that has threads must not fork.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PROGRAM = "tests.support.warm_commands:become"

# Ten flow runs and thirty task runs cost as much as all the rest of a small migration: without them for tests of what the engine does.
# Commands that are forks carry the migration out as `firelift.migrate` does then; others by Prefect, as always.
CARRIED_OUT = "FIRELIFT_TEST_CARRIED_OUT"
WITHOUT_PREFECT = {CARRIED_OUT: "without Prefect"}
BY_PREFECT = {CARRIED_OUT: "by Prefect"}


@cache
def warm_server() -> WarmServer:
    return WarmServer()


def start(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    files: tuple[IO[bytes], IO[bytes]] | None = None,
    new_session: bool = False,
) -> Forked:
    """`firelift …`; what it writes goes into the files, or can be read from `stdout` and `stderr`."""
    request = {"arguments": list(arguments), "directory": str(directory), "environment": dict(environment), "session": new_session}
    if files is not None:
        return Forked(warm_server().fork(PROGRAM, request, [file.fileno() for file in files]))
    (out, out_there), (err, err_there) = os.pipe(), os.pipe()
    reply = warm_server().fork(PROGRAM, request, [out_there, err_there])
    os.close(out_there)
    os.close(err_there)
    return Forked(reply, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"))


def serve_warm(descriptor: int) -> None:
    """Loads everything, then forks for each request."""
    _load()
    serve(socket.socket(fileno=descriptor))


WORKFLOW = ("flows.migration", "tasks.prefect_server", "expectations.validation", "firelift.run.reports.page", "prefect.main")
# What worker processes import.
PHASES = ("firelift.phases.transformation", "firelift.phases.import_", "firelift.phases.verification")


def _load() -> None:
    """Everything that commands import, so that a fork has it."""
    import importlib

    from firelift.migration import early_start

    for name in ("firelift.cli.main", "firelift.cli.run", "firelift.cli.demo", "firelift.migration.api"):
        importlib.import_module(name)
    from firelift.workflow_path import put_workflow_first

    put_workflow_first()
    gc.disable()
    for name in (*WORKFLOW, *early_start.MODULES, *PHASES):
        importlib.import_module(name)
    # A collection in a fork would copy every page that it looks at.
    gc.collect()
    gc.freeze()
    gc.enable()


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """The command that was asked for, in this process."""
    out, err = descriptors
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, place in ((out, 1), (err, 2)):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv = ["firelift", *request["arguments"]]
    if os.environ.pop(CARRIED_OUT, None) == WITHOUT_PREFECT[CARRIED_OUT]:
        _carry_out_without_prefect()
    else:
        _forget_settings_of_prefect()
    fork_while_alone()
    from firelift.cli.main import main

    main()


def read_settings_of_prefect() -> None:
    """Prefect reads them when it is imported, from an environment that was another one."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging import configuration

    refresh_global_settings_context()
    # Anew, and not only its levels: its handlers write to what is sys.stderr now.
    configuration.setup_logging(incremental=False)


def _carry_out_without_prefect() -> None:
    """The migration of the command is `firelift.migrate`; all else of it is as it is."""
    import firelift.cli.run as command
    from firelift.migration.api import migrate

    command._prefect_server = lambda: lambda: None
    command._flow = lambda settings, server_ready: migrate(settings).report


def _forget_settings_of_prefect() -> None:
    """A command imports Prefect once it has set some of its settings."""
    import firelift.cli.run as command

    prepare = command.prepare_environment

    def prepared(settings: Any) -> None:
        prepare(settings)
        read_settings_of_prefect()

    command.prepare_environment = prepared
