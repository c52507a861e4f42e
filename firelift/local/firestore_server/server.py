"""Starts a Firestore of our own, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from functools import partial, reduce
from typing import ClassVar, Protocol

from firelift.local.firestore_server.calls import Answer, Call, Responses
from firelift.local.firestore_server.http2 import Http2Connection


class Rule(Protocol):
    """Something production does that a plain answer does not."""

    documented: ClassVar[str]
    """Where it is written, or who has seen it."""

    def around(self, call: Call, answer: Answer) -> Responses:
        """The answer to a call, made of what `answer` says to it."""


class FirestoreServer:
    """Serves until the block ends. `address` is `127.0.0.1:port`.

    Each rule is around those behind it in the list: the first one hears a call first, and has the last word.
    """

    def __init__(self, answers: Answer, rules: Sequence[Rule] = (), *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._answer: Answer = reduce(lambda answer, rule: partial(rule.around, answer=answer), reversed(rules), answers)
        self._tls = tls
        self._connections: set[Http2Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="firestore-server", daemon=True)

    def __enter__(self) -> FirestoreServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Ends all connections without a word."""
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for connection in [*self._connections]:
            connection.cut()

    def _run(self) -> None:
        connect = partial(Http2Connection, self._answer, self._connections)
        server = self._loop.run_until_complete(self._loop.create_server(connect, sock=self._socket, ssl=self._tls))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._end_tasks()
            self._loop.close()

    def _end_tasks(self) -> None:
        self._cut()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
