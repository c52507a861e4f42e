"""The command line: options made from settings, results on stdout, one line an error, the contract's exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from firelift.cli import options as cli_options
from firelift.cli import run as cli_run
from firelift.cli.main import call
from firelift.errors import ConfigurationError, FireliftError
from firelift.planning.model import Column, Plan, ReferenceTarget, Shape, TablePlan
from firelift.planning.shown_plan import read_shown_plan, shown_plan
from firelift.run.reports import final_report
from firelift.run.reports.plan_text import plan_text
from firelift.run.status import Status
from firelift.run.workspace import Workspace
from firelift.settings.fields import option_name
from firelift.settings.settings import PUBLIC_FIELDS, Settings, environment_names

Output = pytest.CaptureFixture[str]
URL = "postgresql://postgres:correct-horse-battery@127.0.0.1:1/postgres"
KEY = "service-role-key-of-a-project"


class Unreachable(FireliftError):
    """The database cannot
    be reached."""

    remedy = "Start it."


class Wrong(ConfigurationError):
    """The key is wrong."""


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("MIGRATION_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    for name in Settings.model_fields:
        for variable in environment_names(name):
            monkeypatch.delenv(variable, raising=False)
    # A source that needs no credentials: they are looked at before the flow starts.
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo")
    # The flow that stands for ours asks no Prefect server anything.
    monkeypatch.setattr(cli_run, "_prefect_server", lambda: lambda: None)
    # Set, so that monkeypatch takes away what a command puts there.
    for variable in ("MIGRATION_DATABASE_URL", "MIGRATION_SUPABASE_KEY", *cli_run.PREFECT, *cli_run.QUIET):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    yield
    os.umask(umask)


class Flow:
    """Stands for flows.migration: takes parameters, leaves a status, returns a report or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.parameters: dict[str, Any] = {}

    def __call__(self, **parameters: Any) -> dict[str, Any]:
        self.parameters = parameters
        print("noise of a library on stdout")
        with Status.open(Workspace(Path(parameters["working_dir"]), parameters["migration_id"])) as status:
            status.start_phase("extraction")
            if self.error:
                raise self.error
            status.finish_phase("extraction", {})
            status.complete()
            return final_report(parameters, status.data(), shown_plan(PLAN), TABLES)


def put_in_place(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> Flow:
    module = ModuleType("flows.migration")
    module.migration = flow  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.migration", module)
    return flow


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Flow:
    return put_in_place(Flow(), monkeypatch)


PLAN = Plan(
    database="projects/p/databases/(default)",
    tables=(
        TablePlan(
            collection="users",
            table="users",
            keys=("id",),
            columns=(
                Column(name="full_name", path=("fullName",), kind="string"),
                Column(name="org", path=("org",), kind="link", null_means="null", reference=ReferenceTarget(collection="orgs")),
                Column(name="evil", path=("ev\x1bil",), kind="json", shape=Shape()),
            ),
        ),
        TablePlan(collection="users/*/orders", table="users_orders", keys=("users_id", "id"), columns=(), extra=Shape(), parent="users"),
        TablePlan(collection="orgs", table="orgs", keys=("id",), columns=()),
    ),
)
TABLES: list[Any] = [{"collection": "users", "table": "users", "documents": 1200, "rows": 1199, "rejected": 1, "residue": 0}]


def test_help_has_one_line_an_option_and_every_setting(capsys: Output) -> None:
    assert call(["migrate", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, field in Settings.model_fields.items():
        found = [line for line in lines if line.split()[:1] == [option_name(name)]]
        assert len(found) == 1
        assert str(field.description) in found[0]


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.default is True])
def test_what_is_on_by_default_can_be_switched_on_and_off_and_is_described_as_on(name: str, flow: Flow, capsys: Output) -> None:
    for option, means in ((option_name(name), True), (f"--no-{option_name(name)[2:]}", False)):
        assert call(["migrate", "--database-url", URL, option]) == 0
        assert flow.parameters[name] is means
    description = str(Settings.model_fields[name].description)
    assert not re.match(r"(Do not|Leave|Drop|Never|No)\b", description), description
    assert call(["migrate", "--help"]) == 0
    assert f"{option_name(name)} / --no-{option_name(name)[2:]} " in capsys.readouterr().out


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = "{'prefect', 'great_expectations', 'google', 'pandas', 'pyarrow', 'psycopg', 'sqlalchemy', 'grpc'}"
    check = f"import sys, firelift.cli.main; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--nope"],
        ["migrate", "--naming", "camel"],
        ["migrate", "--batch-size"],
        ["migrate", "extra"],
        ["frobnicate"],
        ["migrate"],
        ["status"],
        ["status", "--migration-id", "gone"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], capsys: Output) -> None:
    assert call(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .*\n", err)
    assert not Path("migration-workspace").exists()


def test_no_command_shows_the_help(capsys: Output) -> None:
    assert call([]) == 2
    assert "migrate" in capsys.readouterr().err


def test_migrate_passes_public_settings_as_parameters_and_secrets_by_environment(flow: Flow) -> None:
    assert call(["migrate", "--database-url", URL, "--supabase-key", KEY, "--no-auto-verification", "--collections", "a,b"]) == 0
    assert tuple(flow.parameters) == PUBLIC_FIELDS
    assert flow.parameters.items() >= {"auto_verification": False, "collections": ["a", "b"], "dry_run": False}.items()
    assert flow.parameters["migration_id"].startswith("migration-")
    assert "correct-horse" not in json.dumps(flow.parameters)
    assert os.environ["MIGRATION_DATABASE_URL"] == URL
    assert os.environ["MIGRATION_SUPABASE_KEY"] == KEY
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_what_the_user_told_prefect_stays(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    assert call(["migrate", "--database-url", URL]) == 0
    assert flow.parameters
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"


@pytest.mark.usefixtures("flow")
def test_results_go_to_stdout_and_progress_to_stderr(capsys: Output) -> None:
    assert call(["migrate", "--database-url", URL, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "completed"
    assert "noise of a library" in err
    assert "extraction" in err


@pytest.mark.usefixtures("flow")
def test_migrate_prints_the_executive_summary(capsys: Output) -> None:
    assert call(["migrate", "--database-url", URL]) == 0
    assert capsys.readouterr().out.startswith("# Migration migration-")


def test_plan_is_a_dry_run_that_prints_tables(flow: Flow, capsys: Output) -> None:
    assert call(["plan", "--database-url", URL]) == 0
    assert flow.parameters["dry_run"] is True
    out = capsys.readouterr().out
    assert "users -> public.users (1,200 documents, 1 reject expected)" in out
    assert "Nothing has been written to the target." in out


def test_a_slip_in_a_variable_is_warned_of(flow: Flow, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_BACH_SIZE", "1")
    assert call(["migrate", "--database-url", URL]) == 0
    assert flow.parameters
    assert "MIGRATION_BACH_SIZE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Unreachable(host="h", said="line\nbreak"), 1, r"error: The database cannot be reached \(host: h, said: line break\). Start it\."),
        (Wrong(file="f"), 2, r"error: The key is wrong \(file: f\)\."),
        (RuntimeError("two\nlines"), 1, "unexpected error: RuntimeError: two lines.*--verbose"),
        (KeyboardInterrupt(), 3, "error: The migration was stopped on request"),
    ],
)
def test_an_error_is_one_line_an_exit_code_and_written_down(
    error: BaseException, code: int, says: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(Flow(error), monkeypatch)
    assert call(["migrate", "--database-url", URL]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert re.fullmatch(says + ".*", err.splitlines()[-1])
    status = Workspace.latest("migration-workspace").status()
    assert status["status"] == ("stopped" if code == 3 else "failed")
    assert json.loads(Path("migration-workspace/final-migration-report.json").read_text())["status"] == status["status"]


def test_verbose_shows_the_traceback(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(Flow(RuntimeError("x")), monkeypatch)
    assert call(["migrate", "--database-url", URL, "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--verbose"], ["--json"]])
def test_no_secret_is_ever_printed_or_written(more: list[str], capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    put_in_place(Flow(RuntimeError(f"could not connect to {URL} nor with {KEY}; password is correct-horse-battery")), monkeypatch)
    assert call(["migrate", "--database-url", URL, "--supabase-key", KEY, *more]) == 1
    out, err = capsys.readouterr()
    written = "".join(file.read_text(errors="replace") for file in Path().rglob("*") if file.is_file())
    assert "***" in err
    for secret in (KEY, "correct-horse-battery"):
        assert secret not in out + err + written


def test_status_prints_text_or_json(flow: Flow, capsys: Output) -> None:
    call(["migrate", "--database-url", URL, "--migration-id", "mine"])
    assert flow.parameters["migration_id"] == "mine"
    capsys.readouterr()
    assert call(["status"]) == 0
    assert capsys.readouterr().out.startswith("mine: completed, 100 %")
    assert call(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["migrationId"] == "mine"


@pytest.mark.parametrize(("error", "code"), [(None, 0), (RuntimeError("x"), 1), (KeyboardInterrupt(), 3)])
def test_watching_ends_with_the_run_and_its_exit_code(
    error: BaseException | None, code: int, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(Flow(error), monkeypatch)
    call(["migrate", "--database-url", URL])
    assert call(["status", "--watch"]) == code
    assert "migration-" in capsys.readouterr().out


def test_the_plan_shows_columns_keys_and_foreign_keys() -> None:
    text = plan_text({"plan": shown_plan(PLAN), "tables": TABLES, "settings": {"target_schema": "public", "foreign_keys": "report"}})
    for said in (
        r"full_name +text +fullName +string +missing +renamed",
        r"org +text +org +link +null +-> orgs",
        r"primary key \(users_id, id\)",
        r"foreign key \(users_id\) -> users \(id\) where no row is orphaned",
        r"foreign key \(org\) -> orgs \(id\) where no row is orphaned",
        r"firestore_extra +jsonb",
        r"firestore_residue +jsonb",
        r"ev\\x1bil",
    ):
        assert re.search(said, text), said
    assert "\x1b" not in text


def test_the_plan_shows_no_foreign_key_where_none_is_made() -> None:
    text = plan_text({"plan": shown_plan(PLAN), "tables": TABLES, "settings": {"target_schema": "public", "foreign_keys": "off"}})
    assert "primary key" in text
    assert "foreign key" not in text


def test_the_plan_lists_what_publishing_would_do_to_the_target() -> None:
    report = {"plan": shown_plan(PLAN), "tables": TABLES, "settings": {"target_schema": "public", "foreign_keys": "report"}}
    stages = [*(f"move t{number} into public, with its keys" for number in range(1, 10)), "drop ev\x1bil"]
    text = plan_text(report | {"phases": {"post_migration": {"result": {"would_publish": stages}}}})
    listed = text.split("Publishing would do this to the target, in one transaction:\n")[1]
    assert listed.splitlines()[0] == "   1. move t1 into public, with its keys"
    assert listed.splitlines()[9:11] == ["  10. drop ev\\x1bil", ""]
    assert listed.endswith("Nothing has been written to the target.\n")
    without_target = plan_text(report | {"phases": {"post_migration": {"result": {"would_publish": []}}}})
    assert "Publishing" not in without_target


def test_a_line_break_in_a_name_begins_no_line_of_the_plan() -> None:
    """It could say that nothing has been written, or that something will be."""
    report = {"plan": shown_plan(PLAN), "tables": TABLES, "settings": {"target_schema": "public", "foreign_keys": "off"}}
    sql = """-- the users' rows\nCREATE TABLE "a\n""b""" + '" (' + """\n    "id" text\n);\nCOMMENT ON TABLE "t" IS 'c\n''d';\n"""
    lines = plan_text(report | {"ddl": sql}).splitlines()
    assert lines[lines.index("-- the users' rows") :][1:5] == [
        'CREATE TABLE "a\\n""b" (',
        '    "id" text',
        ");",
        """COMMENT ON TABLE "t" IS 'c\\n''d';""",
    ]


def test_the_plan_shows_the_sql_of_new_tables_and_no_control_character_of_a_name() -> None:
    report = {"plan": shown_plan(PLAN), "tables": TABLES, "settings": {"target_schema": "public", "foreign_keys": "off"}}
    sql = 'CREATE TABLE "a\x1b" (\n    "id" text\n);\n'
    text = plan_text(report | {"ddl": sql})
    assert sql.replace("\x1b", "\\x1b") in text
    assert text.endswith("Nothing has been written to the target.\n")
    assert "SQL" not in plan_text(report | {"ddl": ""})


def test_a_plan_is_shown_under_the_names_that_readers_of_reports_know() -> None:
    shown = json.loads(json.dumps(shown_plan(PLAN)))
    columns = {column["name"]: column for table in shown["tables"] for column in table["columns"]}
    assert columns["org"] == {
        "name": "org",
        "field": "org",
        "path": ["org"],
        "holds": "link",
        "null_means": "null",
        "shape": None,
        "link": {"collection": "orgs", "ancestors": []},
    }
    assert read_shown_plan(shown) == PLAN


def test_a_plan_of_nothing_says_so() -> None:
    assert "Nothing to migrate" in plan_text({"plan": {"database": "d", "tables": []}, "tables": [], "settings": {}})


def test_the_option_table_names_every_setting() -> None:
    table = cli_options.markdown_table()
    for name in Settings.model_fields:
        assert option_name(name) in table
        assert f"`{environment_names(name)[0]}`" in table


PRINTS = (
    "import sys, firelift.cli.main as cli; "
    "cli._summary_of = lambda report: 'Zo\\xeb \\u0141\\xf3d\\u017a \\u6771\\u4eac \\ud800\\n'; "
    "cli.run_migration = lambda settings: "
)
REPORT = "{'status': 'completed', 'name': 'Zo\\xeb \\u6771\\u4eac \\ud800'}; cli.main(sys.argv[1:])"
MIGRATES = [sys.executable, "-c", PRINTS + REPORT, "migrate", "--database-url", "postgresql://h/d"]
TERMINALS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "strict": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "unset": {"PYTHONUTF8": "0"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "utf-8": {"PYTHONIOENCODING": "utf-8"},
}


@pytest.mark.parametrize("terminal", TERMINALS.values(), ids=TERMINALS)
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_terminal_without_a_letter_makes_no_failure_of_a_published_run(
    terminal: dict[str, str], as_json: list[str], tmp_path: Path
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    said = subprocess.run([*MIGRATES, *as_json], capture_output=True, env=kept | terminal, cwd=tmp_path, check=False)
    assert (said.returncode, said.stderr) == (0, b"")
    assert b"Zo" in said.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_behind_the_output_makes_no_failure_of_a_published_run(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        said = subprocess.run(MIGRATES, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, text=True, check=False)
    assert said.returncode == 0
    assert said.stderr == "warning: the result could not be printed: No space left on device. It is in the reports.\n"


def test_a_pipe_that_nobody_reads_makes_no_failure_of_a_published_run(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = subprocess.run(MIGRATES, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(writing)
    assert (said.returncode, said.stderr) == (0, b"")
