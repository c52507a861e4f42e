"""The command `firelift`."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

import click
from rich.console import Console

from firelift import __version__
from firelift.cli.display import follow, screen_for, status_lines
from firelift.cli.looking import check, show
from firelift.cli.options import OneLineCommand, given, settings_options, without_secrets
from firelift.cli.run import run_migration, run_verification
from firelift.cli.session import DONE, FAILED, STOPPED, UNVERIFIED, USAGE, Session, json_option, printing, say, show_result
from firelift.errors import FireliftError
from firelift.migration.rollback_text import cleanup_text, rollback_text, stop_text
from firelift.run.redact import RedactedStream
from firelift.run.reports.headline import headline
from firelift.run.reports.plan_text import plan_text
from firelift.run.reports.verify_text import verified_text
from firelift.run.workspace import REPORT, SUMMARY, Workspace, catch_up_id
from firelift.settings.fields import RETENTION
from firelift.settings.settings import Settings, given_secrets, unknown_variables
from firelift.settings.target import RunLocation, Target
from firelift.workflow_path import workflow_directory

if TYPE_CHECKING:
    from firelift.verification.proof import Against

VERIFY_SETTINGS = (
    *("database_url", "require_tls", "trust_owner", "target_schema", "migration_id", "working_dir", "verification_level"),
    *("firestore_emulator_host", "firebase_service_account"),
    *("max_workers", "max_lookup_ms", "max_count_ms", "verbose"),
)
_EXIT_OF = {"completed": DONE, "stopped": STOPPED}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point: every error becomes one line on stderr and an exit code."""
    # The libraries make some hundred thousand objects that stay: to look for garbage among them takes a tenth of their import.
    gc.set_threshold(100_000, 20, 20)
    codes: list[int] = []
    atexit.register(_leave, codes)
    codes.append(call(arguments))
    sys.exit(codes[0])


def _leave(codes: Sequence[int]) -> None:
    """Registered first, so called last: to take an interpreter with all these libraries apart takes half a second, for nothing."""
    if codes:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(codes[0])


def call(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _escape_unprintable()
    session = Session(words=words, secrets=list(given_secrets(os.environ, words)))
    with _secrets_masked(session):
        try:
            code = firelift.main(args=words, obj=session, standalone_mode=False)
            with printing():
                pass
            return code if isinstance(code, int) else DONE
        except BaseException as error:
            return _failed(error, session)


def _escape_unprintable() -> None:
    """What the terminal's encoding lacks is written as \\xe9: a published run must not end as a failed one for want of an é."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every setting can also be given as MIGRATION_<NAME> in the environment.",
)
@click.version_option(__version__, prog_name="firelift")
def firelift() -> None:
    """Migrate a Firestore database into PostgreSQL or Supabase: every document, exactly."""


firelift.add_command(check)
firelift.add_command(show)


@firelift.command(cls=OneLineCommand)
@settings_options()
@click.option("--emergency-stop", is_flag=True, help="Stop the running migration (= firelift stop)")
@click.option("--emergency-rollback", is_flag=True, help="Put the target back as it was before the run (= firelift rollback)")
@json_option
@click.pass_obj
def migrate(session: Session, /, emergency_stop: bool, emergency_rollback: bool, as_json: bool, **options: Any) -> int:
    """Migrate Firestore into the target database."""
    if emergency_stop:
        _stop(session, given(options), as_json)
    if emergency_rollback:
        _roll_back(session, given(options), False, as_json)
    return DONE if emergency_stop or emergency_rollback else _migrate(session.load(given(options)), as_json)


@firelift.command(cls=OneLineCommand)
@settings_options(without=["dry_run"])
@json_option
@click.pass_obj
def plan(session: Session, /, as_json: bool, **options: Any) -> int:
    """Plan only, write nothing (= migrate --dry-run)."""
    settings = session.load({**given(options), "dry_run": True})
    return _migrate(settings, as_json)


@firelift.command(cls=OneLineCommand)
@settings_options(only=["working_dir", "migration_id", "verbose"], meaning={"migration_id": "The run to show; by default the latest"})
@click.option("--watch", is_flag=True, help="Follow the run until it ends; the exit code is the run's")
@json_option
@click.pass_obj
def status(session: Session, /, watch: bool, as_json: bool, **options: Any) -> int:
    """Show the status of a run."""
    place = RunLocation.load(**given(options))
    session.verbose = place.verbose
    workspace = _run_named(place)
    if watch:
        follow(workspace, screen_for(Console(file=sys.stderr), transient=True))
    found = workspace.status()
    show_result(found, as_json, "\n".join(status_lines(found)) + "\n")
    return _EXIT_OF.get(found["status"], FAILED) if watch else DONE


@firelift.command(cls=OneLineCommand)
@settings_options(
    only=["working_dir", "migration_id", "database_url", "require_tls", "target_schema", "verbose"],
    meaning={
        "migration_id": "The run to stop; by default the one that is running",
        "target_schema": "Target schema of the run to stop, if no run is named",
    },
)
@json_option
@click.pass_obj
def stop(session: Session, /, as_json: bool, **options: Any) -> int:
    """Stop the running migration; it can be resumed."""
    _stop(session, given(options), as_json)
    return DONE


@firelift.command(cls=OneLineCommand)
@settings_options(
    only=["database_url", "require_tls", "trust_owner", "target_schema", "migration_id", "working_dir", "verbose"],
    meaning={
        "target_schema": "Target schema of the run to undo, if no run is named",
        "migration_id": "The run to undo; by default the latest of this target schema and working directory",
        "working_dir": "Working directory of the run, whose reports will say that it was rolled back",
    },
)
@click.option("--force", is_flag=True, help="Also undo what others have changed in its tables since the run")
@json_option
@click.pass_obj
def rollback(session: Session, /, force: bool, as_json: bool, **options: Any) -> int:
    """Put the target back as it was before a run."""
    _roll_back(session, given(options), force, as_json)
    return DONE


@firelift.command(cls=OneLineCommand)
@settings_options(only=VERIFY_SETTINGS, meaning={"migration_id": "The run to verify; by default every run that has published tables"})
@click.option(
    "--against",
    type=click.Choice(["archive", "firestore"]),
    help="Compare with the run's archive, or read Firestore again as of the run's snapshot [default: the archive if it is complete]",
)
@click.option("--seed", metavar="TEXT", help="Draw the same sample as an earlier verification with this seed")
@json_option
@click.pass_obj
def verify(session: Session, /, against: Against | None, seed: str | None, as_json: bool, **options: Any) -> int:
    """Compare published tables with Firestore's documents."""
    done = run_verification(session.load(given(options)), against, seed)
    show_result(done.model_dump(mode="json"), as_json, verified_text(done))
    return DONE if done.passed else UNVERIFIED


@firelift.command(cls=OneLineCommand)
@settings_options(
    only=["database_url", "require_tls", "target_schema", "verbose"],
    meaning={"target_schema": "Target schema of the backups [default: public]"},
)
@click.option(
    "--backup-retention",
    metavar="DAYS",
    type=click.IntRange(0, 36_500),
    help=f"Keep backups younger than this [env: {RETENTION}; default: 7]",
)
@click.option("--yes", is_flag=True, help="Drop the backups; without this option they are only listed")
@json_option
@click.pass_obj
def cleanup(session: Session, /, yes: bool, as_json: bool, **options: Any) -> int:
    """List or drop the backups that are older than the retention."""
    from firelift.migration.rollback import drop_expired, what_expired

    target = session.load_target(given(options))
    schema = target.target_schema
    expired = what_expired(target.url(), target.backup_retention, schema)
    dropped = drop_expired(target.url(), [backup.migration_id for backup in expired], schema) if yes and expired else []
    shown = {"expired": [backup.model_dump(mode="json") for backup in expired], "dropped": dropped}
    show_result(shown, as_json, cleanup_text(expired, dropped))
    return DONE


@firelift.command(cls=OneLineCommand)
@click.option("--keep", is_flag=True, help="Keep the emulator and PostgreSQL running until Ctrl-C")
@click.option("--verbose", is_flag=True, help="Show more, with tracebacks of errors")
@json_option
@click.pass_obj
def demo(session: Session, /, keep: bool, verbose: bool, as_json: bool) -> int:
    """Migrate a sample app, with all servers on this machine."""
    from firelift.cli.demo import run_demo

    session.verbose = verbose
    run_demo(keep, verbose, lambda report: show_result(report, as_json, _summary_of(report)))
    return DONE


@firelift.command(cls=OneLineCommand)
@json_option
def deployments(as_json: bool) -> int:
    """Print the directory of prefect.yaml, for `prefect deploy`."""
    directory = workflow_directory()
    found = {"directory": directory, "prefect_yaml": directory / "prefect.yaml", "heartbeat": directory / "deployments" / "heartbeat.yaml"}
    show_result({name: str(path) for name, path in found.items()}, as_json, f"{directory}\n")
    return DONE


def _migrate(settings: Settings, as_json: bool) -> int:
    for variable in unknown_variables(os.environ):
        print(f"warning: {variable} in the environment is not a setting of firelift", file=sys.stderr)
    report = run_migration(settings)
    show_result(report, as_json, plan_text(report) if settings.dry_run else _summary_of(report))
    return _EXIT_OF.get(report["status"], FAILED)


def _stop(session: Session, options: dict[str, Any], as_json: bool) -> None:
    from firelift.migration.stop import stop_run

    place, target = RunLocation.load(**_of(RunLocation, options)), session.load_target(_of(Target, options))
    url, of_schema = target.url() if target.database_url else None, "target_schema" in target.model_fields_set
    request = stop_run(place.working_dir, place.migration_id, url, target.target_schema, of_schema=of_schema)
    show_result(request.model_dump(mode="json"), as_json, stop_text(request))


def _roll_back(session: Session, options: dict[str, Any], force: bool, as_json: bool) -> None:
    from firelift.migration.rollback import roll_back_run
    from firelift.run.reports import note_rollback

    place, target = RunLocation.load(**_of(RunLocation, options)), session.load_target(_of(Target, options))
    done = roll_back_run(target.url(), target.migration_id, force, target.target_schema, place.working_dir)
    note_rollback(place.working_dir, done.model_dump(mode="json"))
    show_result(done.model_dump(mode="json"), as_json, rollback_text(done))


def _of(model: type[RunLocation] | type[Target], options: dict[str, Any]) -> dict[str, Any]:
    """The options that this model knows: in an emergency the others are of no account."""
    return {name: value for name, value in options.items() if name in model.model_fields}


def _summary_of(report: dict[str, Any]) -> str:
    working_dir = report["settings"]["working_dir"]
    summary = (Workspace.of(working_dir, report["migrationId"]).run / SUMMARY).read_text(encoding="utf-8")
    if not report["statistics"].get("readLater") or report["dryRun"]:
        return summary
    following = catch_up_id(report["migrationId"])
    caught_up = Workspace.of(working_dir, following).read_json(REPORT)
    return f"{summary}\n## The incremental run that closed the gap\n\n{following}: {headline(caught_up)}\n"


def _run_named(place: RunLocation) -> Workspace:
    if place.migration_id is not None:
        return Workspace.of(place.working_dir, place.migration_id)
    return Workspace.latest(place.working_dir)


@contextmanager
def _secrets_masked(session: Session) -> Iterator[None]:
    """Everything printed from here, by whomever, goes through the mask."""
    out, err = (cast(TextIO, RedactedStream(stream, session.secrets)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


def _failed(error: BaseException, session: Session) -> int:
    """Say what happened in one line; the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message(), file=sys.stderr)
        return USAGE
    if isinstance(error, click.ClickException):
        say(f"error: {without_secrets(error, session.words)} {_see_help(error)}")
        return USAGE
    if session.verbose:
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say("stopped on request")
        return STOPPED
    if isinstance(error, FireliftError):
        say(f"error: {error}")
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    hint = "" if session.verbose else " Run again with --verbose to see where."
    say(f"unexpected error: {type(error).__name__}: {str(error) or 'no text'}.{hint}")
    return FAILED


def _see_help(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"See `{context.command_path if context else 'firelift'} --help`."
