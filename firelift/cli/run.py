"""Runs a migration for a command: Prefect around it, progress beside it, its end written down."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, cast

from rich.console import Console

from firelift.cli.display import follow, screen_for
from firelift.errors import FireliftError, Stopped
from firelift.local.proxies import spare_this_machine
from firelift.migration.identity import resolve_run
from firelift.planning.mapping import read_mapping
from firelift.run.log import Log
from firelift.run.receipt_files import refuse_unskippable
from firelift.run.reports import write_reports
from firelift.run.status import Status, is_stop, this_process
from firelift.run.stop_request import BEGAN
from firelift.run.workspace import REPORT, STATUS, Workspace, catch_up_id, new_migration_id
from firelift.settings.settings import Settings
from firelift.workflow_path import put_workflow_first

if TYPE_CHECKING:
    from firelift.receipts import Verified
    from firelift.verification.proof import Against
    from firelift.workers import Workers

EVERY_LOOK: Final = 0.5
PREFECT: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The default of 20 s is what a new database takes on a machine with two cores.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # Its server is started by `python -m`, which would import what lies in the user's directory by the name of a library.
    "PYTHONSAFEPATH": "1",
}
QUIET: Mapping[str, str] = {
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # Prefect logs every exception with its traceback; ours come as one line.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


def run_migration(settings: Settings) -> dict[str, Any]:
    """Carry the migration out and return its final report; raises what ended it."""
    from firelift.migration.early_start import start_workers_early

    os.environ[BEGAN] = str(time.time())
    if not settings.dry_run:
        settings.target_url()  # raises MissingSetting
    prepare_environment(settings)
    # Everything below, also what workers and libraries write, is for the owner's eyes.
    os.umask(0o077)
    with start_workers_early(settings.max_workers) as workers:
        return _run_migration(settings, workers)


def _run_migration(settings: Settings, workers: Workers) -> dict[str, Any]:
    source_label = _refuse_unusable(settings)
    settings = resolve_run(settings, new_migration_id(), source_label)
    workspace = Workspace(settings.working_dir, str(settings.migration_id))
    refuse_unskippable(workspace, settings.skip_phases)
    _refuse_app_config(settings)
    server_ready = _prefect_server()
    workspace.create()
    _begin(workspace, settings)
    print(f"{workspace.migration_id}: status, log and reports in {workspace.working_dir}", file=sys.stderr)
    try:
        with _interruptible(), _progress(workspace, plain=settings.verbose), redirect_stdout(sys.stderr):
            _look_ahead(settings, workers)
            return _flow(settings, server_ready)
    except BaseException as error:
        _record_end(workspace, settings, error)
        if is_stop(error):
            raise Stopped(migration=workspace.migration_id) from error
        raise


def _prefect_server() -> Callable[[], None]:
    """While it starts, there is something else to do."""
    put_workflow_first()
    with _importing():
        from tasks.prefect_server import prefect_server

    return prefect_server()


@contextmanager
def _importing() -> Iterator[None]:
    """What is imported stays: to look for garbage among it takes a sixth of the time, and its share of every later look."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def run_verification(settings: Settings, against: Against | None, seed: str | None) -> Verified:
    """Verifies a published target, without Prefect; raises what kept it from being verified."""
    put_workflow_first()
    import expectations
    from firelift.migration.published.verify_published import verify_published

    prepare_environment(settings)
    os.umask(0o077)
    with _sigterm_as_ctrl_c(), redirect_stdout(sys.stderr):
        return verify_published(settings, against, seed, lambda line: print(line, file=sys.stderr), expectations)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM ends the verification as Ctrl-C does, so that what was read again is removed in either case."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def prepare_environment(settings: Settings) -> None:
    """What Prefect reads when it is imported, and the secrets, which flow parameters would show to everybody."""
    for name, value in {**PREFECT, **({} if settings.verbose else QUIET)}.items():
        os.environ.setdefault(name, value)
    for name in spare_this_machine(os.environ):
        beyond = f"{name} names a proxy of a kind that Firelift cannot use, and is ignored"
        print(f"warning: {beyond} (`pip install socksio` adds socks5://)", file=sys.stderr)
    os.environ.update(settings.secret_environment())


def _refuse_unusable(settings: Settings) -> Callable[[Settings], str]:
    """Say what is wrong with addresses, credentials and files before Prefect takes its half minute; returns what tells sources apart."""
    from firelift.firestore.channel import open_firestore
    from firelift.firestore.source import source_label, source_of
    from firelift.postgres.session.connect import parameters_of

    if settings.database_url is not None:
        parameters_of(settings.database_url.get_secret_value())
    read_mapping(settings.mapping)
    open_firestore(source_of(settings)).close()
    return source_label


def _refuse_app_config(settings: Settings) -> None:
    from firelift.phases.post_migration import app_config_of

    app_config_of(settings, str(settings.migration_id)).check()


def _look_ahead(settings: Settings, workers: Workers) -> None:
    from firelift.firestore.source import source_of
    from firelift.migration.early_start import start_survey_early
    from firelift.paths import Selection
    from firelift.settings.small_collections import together

    # A resumed run already has its snapshot.
    if not settings.resume:
        selection = Selection(settings.collections, settings.exclude_collections)
        start_survey_early(workers, source_of(settings), settings.read_time, selection, together(settings))


def _flow(settings: Settings, server_ready: Callable[[], None]) -> dict[str, Any]:
    # Prefect takes two seconds to import: not for --help.
    with _importing():
        from flows.migration import migration
        from tasks.flow_run import own_heartbeat

    server_ready()
    with own_heartbeat():
        # A stop, for which the flow returns a state, is raised here as CancelledRun.
        return cast(dict[str, Any], migration(**settings.public()))


def _begin(workspace: Workspace, settings: Settings) -> None:
    """Say that the run has begun, before Prefect takes its half minute."""
    if settings.resume and (workspace.read_json(STATUS) or {}).get("status") == "in_progress":
        # It may be at work in another process; if that is dead, the flow will find out.
        return
    with Status.open(workspace, settings.migration_mode, settings.secrets()) as status:
        write_reports(workspace, settings.public(), status.data(), target=settings.target())


def _record_end(workspace: Workspace, settings: Settings, error: BaseException) -> None:
    """Write down how the run ended where the flow did not come to it."""
    found = workspace.read_json(STATUS) or {}
    if found.get("status") != "in_progress" or found.get("process") != this_process():
        return
    with suppress(FireliftError):
        secrets = settings.secrets()
        with Status.open(workspace, settings.migration_mode, secrets, Log(workspace, secrets)) as status:
            status.fail(error)
            before = workspace.read_json(REPORT) or {}
            write_reports(workspace, settings.public(), status.data(), before.get("plan"), before.get("tables"), settings.target())


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM stop a run as `firelift stop` does; the second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1 or not _ask_to_stop():
            raise KeyboardInterrupt
        print("stopping; interrupt again to stop at once", file=sys.stderr)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask_to_stop() -> bool:
    """False where nothing has begun that would have to come to an end."""
    lifecycle = sys.modules.get("firelift.migration.lifecycle")
    return lifecycle is not None and lifecycle.stop_all()


@contextmanager
def _progress(workspace: Workspace, plain: bool) -> Iterator[None]:
    """A thread that shows the run's status on stderr."""
    console = Console(file=sys.stderr)
    stop = threading.Event()

    def show() -> None:
        # Whatever goes wrong with the display, the migration continues.
        with suppress(Exception):
            follow(workspace, screen_for(console, plain=plain), stop)
            # An incremental run may follow, which closes the gap that an expired snapshot has left.
            following = Workspace(workspace.working_dir, catch_up_id(workspace.migration_id))
            while not stop.wait(EVERY_LOOK):
                if following.run.exists():
                    follow(following, screen_for(console, plain=plain), stop)
                    return

    thread = threading.Thread(target=show, name="firelift-display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)
