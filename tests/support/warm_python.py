"""What stands where processes look for their interpreter (`sys.executable`), and starts none: a small program that has a fork made.

Prefect's worker starts three interpreters for a run, and each imports Prefect: five seconds of CPU. A fork has it.
"""

from __future__ import annotations

import ast
import os
import runpy
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.support import warm_workers
from tests.support.forking import fork_server_here
from tests.support.warm_commands import read_settings_of_prefect, warm_server

PROGRAM: Final = "tests.support.warm_python:become"
ENGINE: Final = "prefect.engine"
"""What runs a flow. It starts no part of Prefect, but workers of its own."""
INTERPRETER: Final = "FIRELIFT_TEST_INTERPRETER"
_MOST: Final = 1 << 20

# Isolated and without `site` it starts in 10 ms. Signals go on to the fork, and the fork's end is its own.
_CLIENT: Final = """#!{python} -IS
import os, signal, socket, sys

asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
asked.connect({address!r})
socket.send_fds(asked, [repr((sys.argv[1:], dict(os.environ), os.getcwd())).encode()], [0, 1, 2])
pid = int(asked.recv(16))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(pid, number))
status = int(asked.recv(16) or b"-9")
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


def warm_python() -> str:
    """The path of the program, which is answered as long as this process lives."""
    return _listener().program


class _Listener:
    """Passes what the program asks on to the process that forks."""

    def __init__(self) -> None:
        self._home = TemporaryDirectory(prefix="firelift-python-")
        address = str(Path(self._home.name) / "asked")
        self._asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asked.bind(address)
        self._asked.listen()
        client = Path(self._home.name) / "python"
        client.write_text(_CLIENT.format(python=os.path.realpath(sys.executable), address=address))
        client.chmod(0o755)
        self.program = str(client)
        threading.Thread(target=self._pass_on, name="warm-python", daemon=True).start()

    def _pass_on(self) -> None:
        while True:
            connection, _ = self._asked.accept()
            with connection, suppress(OSError):
                data, descriptors, _, _ = socket.recv_fds(connection, _MOST, 3)
                warm_server().fork_for(connection, PROGRAM, {"asked": data.decode()}, descriptors)
                for descriptor in descriptors:
                    os.close(descriptor)


@cache
def _listener() -> _Listener:
    return _Listener()


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """`python -m MODULE ARGUMENTS`, in the process that was forked for it."""
    (option, module, *arguments), environment, directory = ast.literal_eval(request["asked"])
    assert option == "-m", option
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", 1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.path.insert(0, directory)
    read_settings_of_prefect()
    begin_as(os.environ[INTERPRETER] if module != ENGINE else None)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def begin_as(interpreter: str | None) -> None:
    """From now on this process starts Prefect by `interpreter`; without one it starts workers of Firelift as forks."""
    if interpreter is not None:
        sys.executable = interpreter
        return
    forking = fork_server_here()
    warm_workers.begin_with(warm_workers.by(lambda: forking))
