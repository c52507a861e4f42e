"""Worker processes that run the engine's functions, so that Python's one interpreter lock does not bound the speed.

Each worker is a fresh interpreter that imports the engine only (neither Prefect nor the main program), takes one call
at a time over a pipe, and ends when the pipe closes: a killed parent leaves no worker behind. To import what it needs
takes it a second, so it begins with that before the first call.
"""

from __future__ import annotations

import contextvars
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from importlib.abc import MetaPathFinder
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from firelift.errors import FireliftError, Stopped

# Memory goes back to the system after a chunk, instead of into pools of several libraries: 50 MB less a worker.
THRIFTY = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}

Result = TypeVar("Result")
Report = Callable[[Any], None]
"""Receives the progress of a call; any small picklable object."""
Divided = Callable[[tuple[Any, ...]], None]
"""Receives the arguments of a further call, which does a part of what a call under way was to do."""

_DIVIDE: Final = "divide"


class WorkerDied(FireliftError):
    """A worker process ended in the middle of its work."""

    recovery = "automatic"
    remedy = (
        "Look for the kernel's out-of-memory killer; with little memory, continue with --resume "
        "and a smaller --max-workers or --batch-size."
    )


class WorkerFailed(FireliftError):
    """A worker process raised an unexpected error."""

    remedy = "This is a defect of Firelift: report it with the traceback that --verbose shows."


class Worker:
    """One process, which imports `modules` while it has no call. One thread calls at a time; others may ask it to divide meanwhile."""

    is_free = True
    """Whether it has no call under way. It has one still where what the call reported could not be taken."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self.pipe, theirs = Pipe()
        # Not `-m firelift.workers`: pickles from there would name the module __main__. The process imports from our own path; -P keeps
        # the current directory out of it, where a user's `queue.py` would break the start.
        serve_calls = f"import sys; sys.path[:] = {sys.path}; from firelift.workers import serve; serve({theirs.fileno()}, {list(modules)})"
        command = [sys.executable, "-P", "-c", serve_calls]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=os.environ | THRIFTY)
        theirs.close()

    def call(
        self,
        function: Callable[..., Result],
        arguments: tuple[Any, ...],
        report: Report,
        begun: Callable[[], None] = lambda: None,
        divided: Callable[[tuple[Any, ...] | None], None] = lambda part: None,
    ) -> Result:
        """`begun` is called when the call is under way and can be asked to divide. `divided` receives the arguments of a part that it
        has given away; None where it was asked for one and keeps all."""
        self.is_free = False
        try:
            self._send((function, arguments))
            begun()
            while True:
                kind, content = self.pipe.recv()
                if kind == "progress":
                    report(content)
                    continue
                if kind == "divided":
                    divided(content)
                    continue
                self.is_free = True
                if kind == "failed":
                    raise content
                return content  # type: ignore[no-any-return]
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied(exit_status=self.process.wait(), doing=function.__name__) from error

    def ask_to_divide(self) -> None:
        """Has the call under way hear that another worker is idle; without one this has no effect."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(_DIVIDE)

    @cached_property
    def _sending(self) -> threading.Lock:
        return threading.Lock()

    def _send(self, message: object) -> None:
        with self._sending:
            self.pipe.send(message)

    def end(self) -> None:
        """Kills the process; whoever waits for a call gets an error. An idle process has nothing to lose."""
        self.process.kill()


class Workers:
    """A fixed number of worker processes, started together and used by any number of threads.

    `modules` are those of the functions that will be called.
    """

    def __init__(self, number: int, modules: Sequence[str] = ()) -> None:
        self.number = number
        self._modules = modules
        self._begun: list[tuple[Callable[..., Any], tuple[Any, ...], Future[Any]]] = []
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._waiting = 0
        """How many calls have no worker yet."""
        self._divisible: list[Worker] = []
        """Those whose calls can be divided and have not been asked, the longest under way first."""
        self._all: list[Worker] = []
        self._lock = threading.Lock()
        self._stopped = False
        for _ in range(number):
            self._idle.put(self._start())

    def _start(self) -> Worker:
        worker = Worker(self._modules)
        with self._lock:
            self._all.append(worker)
        return worker

    def begin(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Starts a call whose result is needed later: the next `call` with the same arguments gets that result."""
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(self._call(function, arguments))
            except BaseException as error:
                future.set_exception(error)

        with self._lock:
            self._begun.append((function, arguments, future))
        threading.Thread(target=work, name="firelift-begun", daemon=True).start()

    def call(self, function: Callable[..., Result], *arguments: Any, report: Report = lambda progress: None) -> Result:
        """Runs `function(*arguments, report)` in the next idle worker. It must be importable from the engine."""
        begun = self._take_begun(function, arguments)
        return begun.result() if begun else self._call(function, arguments, report)

    def _take_begun(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Future[Result] | None:
        with self._lock:
            for index, (begun, given, future) in enumerate(self._begun):
                if begun is function and given == arguments:
                    del self._begun[index]
                    return future
        return None

    def _call(
        self,
        function: Callable[..., Result],
        arguments: tuple[Any, ...],
        report: Report = lambda progress: None,
        divided: Divided | None = None,
    ) -> Result:
        self._wait(1)
        return self._waited_call(function, arguments, report, divided)

    def _waited_call(self, function: Callable[..., Result], arguments: tuple[Any, ...], report: Report, divided: Divided | None) -> Result:
        """Carries out a call that is counted among those that wait."""
        worker = self._next_idle()
        try:
            if divided is None:
                return worker.call(function, arguments, report)
            return self._divisible_call(worker, function, arguments, report, divided)
        except WorkerDied as died:
            if self._stopped:
                raise Stopped() from died
            raise
        finally:
            self._idle.put(worker if worker.is_free or self._stopped else self._in_place_of(worker))
            self._ask_one_to_divide()

    def _in_place_of(self, worker: Worker) -> Worker:
        """A new worker for one that died, or that works on although nobody listens any more: what it reported could not be taken."""
        worker.end()
        worker.process.wait()
        return self._start()

    def _next_idle(self) -> Worker:
        try:
            worker = self._idle.get()
        finally:
            self._wait_no_longer()
        if self._stopped:
            self._idle.put(worker)
            raise Stopped()
        return worker

    def _wait(self, calls: int) -> None:
        with self._lock:
            self._waiting += calls

    def _wait_no_longer(self) -> None:
        with self._lock:
            self._waiting -= 1
        self._ask_one_to_divide()

    def _divisible_call(
        self, worker: Worker, function: Callable[..., Result], arguments: tuple[Any, ...], report: Report, divided: Divided
    ) -> Result:
        def divide(part: tuple[Any, ...] | None) -> None:
            if part is None:
                self._ask_one_to_divide()
            else:
                divided(part)
                self._may_divide(worker)

        try:
            return worker.call(function, arguments, report, lambda: self._may_divide(worker), divide)
        finally:
            with self._lock, suppress(ValueError):
                self._divisible.remove(worker)

    def _may_divide(self, worker: Worker) -> None:
        with self._lock:
            self._divisible.append(worker)
        self._ask_one_to_divide()

    def _ask_one_to_divide(self) -> None:
        """Has a call give a part of its work away, where a worker is idle and nobody waits for one."""
        with self._lock:
            asked = self._divisible.pop(0) if self._divisible and not self._waiting and not self._idle.empty() else None
        if asked is not None:
            asked.ask_to_divide()

    def each(
        self,
        function: Callable[..., Result],
        calls: Iterable[tuple[Any, ...]],
        report: Report = lambda progress: None,
        *,
        divisible: bool = False,
    ) -> Iterator[Result]:
        """The results of many calls as they come; the first error stops the rest that have not started.

        `divisible`: while a worker is idle a call may give a part of its work away, by its `CallReport`, which becomes another call.
        """
        ended: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
        futures: list[Future[Result]] = []
        takes_more = True

        def submit(arguments: tuple[Any, ...]) -> None:
            # Each thread gets the caller's context, because `report` may use it.
            context = contextvars.copy_context()
            future = threads.submit(context.run, self._one_of_many, function, arguments, report, add if divisible else None)
            futures.append(future)
            future.add_done_callback(ended.put)

        def add(part: tuple[Any, ...]) -> None:
            with adding:
                # After an error whoever gives a part away need not be heard: the next attempt finds the part where it was written down.
                if takes_more:
                    self._wait(1)
                    submit(part)

        adding = threading.Lock()
        with ThreadPoolExecutor(self.number) as threads:
            try:
                listed = list(calls)
                self._wait(len(listed))
                for arguments in listed:
                    submit(arguments)
                seen = 0
                # A call's parts are added before it ends.
                while seen < len(futures):
                    seen += 1
                    yield ended.get().result()
            except KeyboardInterrupt:
                # Otherwise the calls under way would be awaited.
                self.stop()
                raise
            finally:
                with adding:
                    takes_more = False
                for future in futures:
                    if future.cancel():
                        self._wait_no_longer()

    def _one_of_many(self, function: Callable[..., Result], arguments: tuple[Any, ...], report: Report, divided: Divided | None) -> Result:
        if begun := self._take_begun(function, arguments):
            self._wait_no_longer()
            return begun.result()
        return self._waited_call(function, arguments, report, divided)

    def stop(self) -> None:
        """Ends all processes; calls that are under way raise Stopped."""
        self._stopped = True
        for worker in self._all:
            worker.end()
        for worker in self._all:
            worker.process.wait()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


class CallReport:
    """What a worker's call reports by. A call that is divisible can ask whether it should, and then gives a part of its work away."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._asked = False

    def __call__(self, progress: Any) -> None:
        self._pipe.send(("progress", progress))

    def is_asked_to_divide(self) -> bool:
        """Whether another worker is idle and nobody waits for one; once for each time that this is so."""
        while self._pipe.poll():
            self._asked = self._pipe.recv() == _DIVIDE
        asked, self._asked = self._asked, False
        return asked

    def give_away(self, arguments: tuple[Any, ...] | None) -> None:
        """Has another worker called with these arguments, for a part that this call does not do; None: it keeps all it has."""
        self._pipe.send(("divided", arguments))


class WithoutPandas(MetaPathFinder):
    """Hides pandas. pyarrow imports it, only to check for it, as soon as it makes an array: half a second and 45 MB per worker."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("workers do without pandas", name=fullname)


def serve(descriptor: int, modules: Sequence[str]) -> None:
    """Runs calls that come over the pipe until its other end is closed; until the first one comes it imports the modules."""
    # Ctrl-C reaches every process of the terminal; the main process decides what happens to this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.meta_path.insert(0, WithoutPandas())
    # Rows are lists without cycles, thousands at a time: looking for garbage among them took a sixth of the time.
    gc.set_threshold(100_000, 20, 20)
    pipe = Connection(descriptor)
    for module in modules:
        if pipe.poll():
            break
        import_module(module)
    # What was imported stays, and is not looked at again.
    gc.freeze()
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            # Nothing is left to do, and a regular shutdown of the interpreter would cost half a second at the end of every run.
            os._exit(0)
        if asked == _DIVIDE:
            # The call that was to hear it has ended.
            continue
        function, arguments = asked
        try:
            pipe.send(("done", function(*arguments, CallReport(pipe))))
        except FireliftError as error:
            pipe.send(("failed", error))
        except BrokenPipeError:
            return
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            pipe.send(("failed", WorkerFailed(doing=function.__name__, error=f"{type(error).__name__}: {error}"[:500], trace=trace)))
