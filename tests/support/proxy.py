"""A TCP proxy on this machine that cuts, stalls, slows or half-closes the connections that pass through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

Fault = Literal["cut", "stall", "slow", "half_open", "refuse"]

PIECE = 65536


@dataclass(frozen=True)
class Strike:
    """What happens, and when.

    cut: both ends see the connection break. stall: nothing passes in either direction for `seconds`, then all of it. slow: for `seconds`
    everything crawls in pieces of 4 KiB, ten a second. half_open: the upstream end is closed; ours stays open, swallows what is said
    and says nothing, for ever. refuse: as cut, and for `seconds` nobody who comes is let through.

    It strikes a connection that has sent the words of `at` one after the other (the last of them is held back), and, with `answered`,
    has been sent the answer (which is held back); and that has received more than `after` bytes. With `everywhere` it strikes
    all connections that are open then. It strikes `times` times.
    """

    fault: Fault
    at: Sequence[bytes] = ()
    answered: bool = False
    after: int = 0
    everywhere: bool = False
    times: int = 1
    seconds: float = 3.0


@dataclass
class Proxy:
    """`address` is where to connect instead of `upstream`; both are "host:port"."""

    upstream: str
    strike: Strike | None
    address: str = ""
    struck: int = 0
    refusing: bool = False
    passages: list[Passage] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refusing:
                raise ConnectionRefusedError
            host, port = self.upstream.rsplit(":", 1)
            there = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        passage = Passage(self, writer, there[1])
        self.passages.append(passage)
        pumps = passage.pump(reader, there[1], passage.asked), passage.pump(there[0], writer, passage.told)
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*pumps)
        finally:
            self.passages.remove(passage)
            passage.break_()

    def due(self, passage: Passage) -> bool:
        strike = self.strike
        return strike is not None and self.struck < strike.times and not passage.wanted and passage.received > strike.after

    async def hit(self, passage: Passage) -> None:
        assert self.strike is not None
        self.struck += 1
        for each in list(self.passages) if self.strike.everywhere else [passage]:
            each.suffer(self.strike)
        if self.strike.fault == "refuse" and not self.refusing:
            self.refusing = True
            asyncio.get_running_loop().call_later(self.strike.seconds, self._let_in)

    def _let_in(self) -> None:
        self.refusing = False


class Passage:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._proxy, self._near, self._far = proxy, near, far
        self.wanted = list(proxy.strike.at) if proxy.strike else []
        self.received = 0
        self._state: Fault | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Callable[[bytes], Awaitable[None]]) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE):
                await heard(data)
                await self._flowing.wait()
                if self._state != "half_open":
                    await self._pass_on(writer, data)
        if self._state == "half_open" and writer is self._near:
            # Upstream has hung up, of which ours hears nothing.
            return
        self.break_()

    async def asked(self, data: bytes) -> None:
        """Something comes from our side."""
        strike = self._proxy.strike
        had = len(self.wanted)
        while self.wanted and self.wanted[0] in data:
            data = data.partition(self.wanted.pop(0))[2]
        if strike and had and not self.wanted and not strike.answered and self._proxy.due(self):
            await self._proxy.hit(self)

    async def told(self, data: bytes) -> None:
        """Something comes from upstream."""
        self.received += len(data)
        strike = self._proxy.strike
        if strike and (strike.answered or not strike.at) and self._proxy.due(self):
            await self._proxy.hit(self)

    async def _pass_on(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for start in range(0, len(data), 4096):
            if self._state != "slow":
                writer.write(data[start:])
                break
            writer.write(data[start : start + 4096])
            await asyncio.sleep(0.1)
        await writer.drain()

    def suffer(self, strike: Strike) -> None:
        loop = asyncio.get_running_loop()
        if strike.fault in ("cut", "refuse"):
            self.break_()
        elif strike.fault == "half_open":
            self._state = "half_open"
            self._far.transport.abort()
        elif strike.fault == "stall":
            self._flowing.clear()
            loop.call_later(strike.seconds, self._flowing.set)
        else:
            self._state = "slow"
            loop.call_later(strike.seconds, self._recover)

    def _recover(self) -> None:
        self._state = None

    def break_(self) -> None:
        for writer in (self._near, self._far):
            writer.transport.abort()


@contextmanager
def proxy(upstream: str, strike: Strike | None = None) -> Iterator[Proxy]:
    """A proxy in front of `upstream` for the length of the block."""
    made = Proxy(upstream, strike)
    started: Future[Callable[[], object]] = Future()
    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(asyncio.run, _serve(made, started))
        stop = started.result()
        try:
            yield made
        finally:
            stop()
            served.result()


async def _serve(made: Proxy, started: Future[Callable[[], object]]) -> None:
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.address = "{}:{}".format(*server.sockets[0].getsockname())
    started.set_result(partial(loop.call_soon_threadsafe, stopped.set))
    await stopped.wait()
    server.close()
