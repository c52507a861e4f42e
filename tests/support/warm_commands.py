"""Commands `firelift …` as processes that need not import anything: forks of a process that has all libraries loaded.

Each is a real process with its own id, session, environment, directory and files, which signals reach and kill; what it does not do
is to start an interpreter. Commands of which the start itself matters are started in the ordinary way.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.support.prefect_servers import CHECKOUT

_STATUS_BYTES = 16


class Forked:
    """A command that was forked; the part of `subprocess.Popen` that tests use."""

    def __init__(self, reply: socket.socket, stdout: IO[str] | None, stderr: IO[str] | None) -> None:
        self._reply, self.stdout, self.stderr = reply, stdout, stderr
        self.returncode: int | None = None
        self.pid = int(reply.recv(_STATUS_BYTES))

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("firelift", timeout or 0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._reply], [], [], timeout)[0]:
            self.returncode = int(self._reply.recv(_STATUS_BYTES) or b"-9")
            self._reply.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        said = {"stdout": "", "stderr": ""}

        def read(name: str) -> None:
            stream: IO[str] | None = getattr(self, name)
            said[name] = stream.read() if stream else ""

        readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in said]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        return said["stdout"], said["stderr"]

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *exception: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


class _Server:
    """The process that forks, one for each process of pytest."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="firelift-warm-")
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = f"from tests.support.warm_commands import serve; serve({theirs.fileno()})"
        environment = {"PATH": os.defpath, "HOME": self._home.name, "LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT), **QUIET, **ONE_THREAD}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._lock = threading.Lock()

    def fork(self, request: Mapping[str, Any], files: Sequence[int]) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [*files, theirs.fileno()])
        return ours


QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "NO_GCE_CHECK": "true", "GRPC_ENABLE_FORK_SUPPORT": "0"}
# A process that has threads must not fork.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_server: list[_Server] = []


def start(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    files: tuple[IO[bytes], IO[bytes]] | None = None,
    new_session: bool = False,
) -> Forked:
    """`firelift …`; what it writes goes into the files, or can be read from `stdout` and `stderr`."""
    if not _server:
        _server.append(_Server())
    request = {"arguments": list(arguments), "directory": str(directory), "environment": dict(environment), "session": new_session}
    if files is not None:
        return Forked(_server[0].fork(request, [file.fileno() for file in files]), None, None)
    (out, out_there), (err, err_there) = os.pipe(), os.pipe()
    reply = _server[0].fork(request, [out_there, err_there])
    os.close(out_there)
    os.close(err_there)
    return Forked(reply, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"))


def serve(descriptor: int) -> None:
    """Forks for each request, until nobody can ask any more. Returns in the forked process, when its command has ended."""
    _load()
    requests = socket.socket(fileno=descriptor)
    replies: dict[int, socket.socket] = {}
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([requests.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 1024)
            _reap(replies)
        if requests.fileno() in ready:
            data, given, _, _ = socket.recv_fds(requests, 1 << 20, 3)
            if not data:
                os._exit(0)
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                for left in (requests, *replies.values()):
                    left.close()
                os.close(woken)
                os.close(wakes)
                return _become(json.loads(data), given)
            out, err, reply = given
            os.close(out)
            os.close(err)
            replies[child] = socket.socket(fileno=reply)
            replies[child].send(str(child).encode())


def _reap(replies: dict[int, socket.socket]) -> None:
    for child in [*replies]:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with replies.pop(child) as reply, suppress(OSError):  # nobody waits any more
                reply.send(str(os.waitstatus_to_exitcode(status)).encode())


def _load() -> None:
    """Everything that commands import, so that a fork has it."""
    import importlib

    for name in ("firelift.cli.main", "firelift.cli.run", "firelift.cli.demo", "firelift.migration.api"):
        importlib.import_module(name)
    from firelift.workflow_path import put_workflow_first

    put_workflow_first()
    gc.disable()
    for name in ("flows.migration", "tasks.server", "expectations.run", "firelift.run.reports.page", "prefect.main"):
        importlib.import_module(name)
    # A collection in a fork would copy every page that it looks at.
    gc.collect()
    gc.freeze()
    gc.enable()


def _become(request: Mapping[str, Any], given: Sequence[int]) -> None:
    """The command that was asked for, in this process."""
    out, err, reply = given
    os.close(reply)
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
    _forget_settings_of_prefect()
    from firelift.cli.main import main

    main()


def _forget_settings_of_prefect() -> None:
    """Prefect reads them when it is imported, which a command does once it has set some of its own."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging import configuration

    import firelift.cli.run as command

    prepare = command.prepare_environment

    def prepared(settings: Any) -> None:
        prepare(settings)
        refresh_global_settings_context()
        # Anew, and not only its levels: its handlers write to what is sys.stderr now.
        configuration.setup_logging(incremental=False)

    command.prepare_environment = prepared
