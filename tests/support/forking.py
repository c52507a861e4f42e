"""Processes that need not start an interpreter: forks of one that has all libraries loaded and no thread but its own.

A `ForkServer` asks such a process, over a socket, to fork. What the fork runs is a function `module:name`, which gets a request and
descriptors.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

_STATUS_BYTES = 16
_MOST_DESCRIPTORS = 8


class Forked:
    """A process that was forked elsewhere; the part of `subprocess.Popen` that tests use."""

    def __init__(
        self, reply: socket.socket, stdout: IO[str] | None = None, stderr: IO[str] | None = None, stdin: IO[str] | None = None
    ) -> None:
        self._reply, self.stdout, self.stderr, self.stdin = reply, stdout, stderr, stdin
        self.returncode: int | None = None
        self.pid = int(reply.recv(_STATUS_BYTES))
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._reply.close()

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("firelift", timeout or 0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        # A run's end and a call that is under way may wait at the same time: the socket stays open, and one of them reads it.
        if self.returncode is None and select.select([self._reply], [], [], timeout)[0]:
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(self._reply.recv(_STATUS_BYTES) or b"-9")
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
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


class ForkServer:
    """The asking side; the other end of the socket is what the forking process serves."""

    def __init__(self) -> None:
        self._requests, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()

    def fork(self, program: str, request: Mapping[str, Any], descriptors: Sequence[int]) -> socket.socket:
        """Where the new process's id and, at its end, its exit status come."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.fork_for(theirs, program, request, descriptors)
        return ours

    def fork_for(self, reply: socket.socket, program: str, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """The same where its id and status go to the other end of `reply`."""
        with self._lock:
            socket.send_fds(self._requests, [json.dumps([program, dict(request)]).encode()], [reply.fileno(), *descriptors])


def serve(requests: socket.socket) -> None:
    """Forks for each request, until nobody can ask any more. Returns in the forked process, when its program has ended."""
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
            data, given, _, _ = socket.recv_fds(requests, 1 << 20, _MOST_DESCRIPTORS)
            if not data:
                os._exit(0)
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for left in (requests, *replies.values()):
                    left.close()
                for descriptor in (woken, wakes, given[0]):
                    os.close(descriptor)
                return _run(data, given[1:])
            for descriptor in given[1:]:
                os.close(descriptor)
            replies[child] = socket.socket(fileno=given[0])
            replies[child].send(str(child).encode())


def fork_server_here() -> ForkServer:
    """A child of this process, with all that it has loaded, that forks on request. Only while this process has no thread but its own."""
    server = ForkServer()
    with server.theirs:
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                server._requests.close()
                serve(server.theirs)
            finally:
                os._exit(0)
    return server


def _run(data: bytes, descriptors: Sequence[int]) -> None:
    program, request = json.loads(data)
    module, _, name = program.partition(":")
    getattr(import_module(module), name)(request, descriptors)


def _reap(replies: dict[int, socket.socket]) -> None:
    for child in [*replies]:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with replies.pop(child) as reply, suppress(OSError):  # nobody waits any more
                reply.send(str(os.waitstatus_to_exitcode(status)).encode())
