"""What README.md tells people to type does what it says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import sql

from firelift.local.writer import delete_documents
from tests.support.command_line import PROGRAMS, Operator, is_untouched
from tests.support.migrating import start
from tests.support.prefect_servers import CHECKOUT, schemas_of, tables_of
from tests.support.whole_way import Things, new_source, write

README = (CHECKOUT / "README.md").read_text()


class Block(NamedTuple):
    """A fenced block of the README."""

    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def blocks() -> list[Block]:
    found = re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", README, re.MULTILINE | re.DOTALL)
    return [
        Block(language, "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))) for indent, language, text in found
    ]


BLOCKS = blocks()


def section(heading: str) -> str:
    return README.split(f"\n## {heading}\n")[1].split("\n## ")[0]


# Where the tests of deployments do what a line says.
DEPLOYING = {
    "export FIRELIFT_HOME=$PWD": '"FIRELIFT_HOME": str(CHECKOUT)',
    "prefect work-pool create firelift --type process": '"work-pool", "create", "firelift", "--type", "process"',
    "prefect deploy --all": '"deploy", "--all"',
    "prefect worker start --pool firelift": '["worker", "start", "--pool", "firelift", "--type", "process"]',
    "prefect deployment run migration/plan --watch": 'start(ready, "plan")',
    "prefect deployment run migration/full --watch": 'start(ready, "full")',
}


def is_make(block: Block) -> bool:
    return block.language == "bash" and all(line.startswith("make ") for line in block.lines)


def is_deploying(block: Block) -> bool:
    return block.language == "bash" and any(line.startswith("prefect ") for line in block.lines)


def is_mending(block: Block) -> bool:
    return block.language == "bash" and block.text in section("When something goes wrong")


def is_verifying(block: Block) -> bool:
    return block.language == "bash" and block.text in section("Is it all there?")


def is_keeping_in_step(block: Block) -> bool:
    return block.language == "bash" and block.text in section("Keep it in step")


def is_trying(block: Block) -> bool:
    return block.language == "bash" and block.text in section("Try it first")


def is_migrating(block: Block) -> bool:
    others = (is_make, is_deploying, is_mending, is_verifying, is_keeping_in_step, is_trying)
    return block.language == "bash" and not any(kind(block) for kind in others)


def is_mapping(block: Block) -> bool:
    return block.language == "json" and "collections" in json.loads(block.text)


def is_pandas(block: Block) -> bool:
    return block.language == "python" and "pandas" in block.text


def is_tree(block: Block) -> bool:
    return block.language == "text" and block.text.startswith("migration-workspace/")


def is_app_config(block: Block) -> bool:
    return block.language == "text" and block.text.startswith("MIGRATION_APP_CONFIG")


def is_picture(block: Block) -> bool:
    """Nothing that could be tried: the way of a document."""
    return block.language == "text" and "──▶" in block.text


KINDS: list[Callable[[Block], bool]] = [
    is_make,
    is_deploying,
    is_verifying,
    is_mending,
    is_keeping_in_step,
    is_trying,
    is_migrating,
    is_mapping,
    is_pandas,
    is_tree,
    is_app_config,
    is_picture,
]


def those(kind: Callable[[Block], bool]) -> list[Block]:
    found = [block for block in BLOCKS if kind(block)]
    assert found, f"README.md has no block that {kind.__name__}"
    return found


def test_every_block_is_tried_below() -> None:
    assert len(BLOCKS) * 2 == len(re.findall(r"^ *```", README, re.MULTILINE))
    assert [block.text for block in BLOCKS if sum(kind(block) for kind in KINDS) != 1] == []


@pytest.mark.parametrize("line", [line for block in those(is_make) for line in block.lines])
def test_make_knows_what_is_to_be_made(line: str) -> None:
    planned = subprocess.run([*shlex.split(line), "-n"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert ".venv/bin/" in planned.stdout


def test_the_deployment_commands_are_run_by_another_test() -> None:
    lines = [line for block in those(is_deploying) for line in block.lines]
    files = ("conftest", "test_deployments", "test_deployed_commands")
    places = (*(f"acceptance/{name}.py" for name in files), "support/deployments.py")
    tried = "".join((CHECKOUT / "tests" / name).read_text() for name in places)
    assert sorted(lines) == sorted(DEPLOYING)
    assert [line for line, place in DEPLOYING.items() if place not in tried] == []


APP: Things = {
    "users/ada": {"name": "Ada", "createdAt": datetime(2024, 1, 1, tzinfo=UTC)},
    "users/bob": {"name": "Bob"},
    "users/bob/orders/1": {"total": 2},
    "teams/red": {"size": 2},
}


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory, prefect_api: str, emulator_host: str) -> Iterator[Operator]:
    """Somebody for whom an emulator with a small app stands in place of the project."""
    with new_source(emulator_host) as source:
        write(source, APP)
        surroundings = {"FIRESTORE_EMULATOR_HOST": emulator_host, "GOOGLE_CLOUD_PROJECT": source.project, "PREFECT_API_URL": prefect_api}
        yield Operator(tmp_path_factory.mktemp("readme"), surroundings)


def test_the_way_of_the_readme_migrates(operator: Operator, database_url: str) -> None:
    """All that is to be typed for a migration, in one shell, with a database beneath that wins over the one named."""
    script = "\n".join(block.text for block in those(is_migrating))
    said = operator.with_(MIGRATION_DATABASE_URL=database_url).run(["bash", "-euo", "pipefail", "-c", script])
    assert said.code == 0, said.err
    planned, migrated = said.out.split("# Migration ", 1)
    assert "users -> public.users" in planned
    assert "Nothing has been written to the target." in planned
    assert "Completed: every document read is a row of the target or among the rejects." in migrated
    assert re.search(r"^migration-\S+: completed, 100 %$", migrated, re.MULTILINE)
    assert tables_of(database_url) == {"teams": 1, "users": 2, "users_orders": 1}
    assert schemas_of(database_url) == ["firelift", "public"]
    assert_working_directory_is_as_shown(operator.workspace)
    assert_the_engine_runs_from_python(operator, database_url)


def test_what_the_readme_says_for_when_something_goes_wrong(operator: Operator, database_url: str) -> None:
    lines = [line for block in those(is_mending) for line in block.lines]
    somebody = Operator(operator.directory / "mending", {**operator.variables, "DATABASE_URL": database_url})
    running = start(somebody, ["migrate"])
    running.until(lambda: (somebody.workspace / "migration-status.json").exists())
    said = {}
    for line in lines:
        said[line] = somebody.run(["bash", "-euo", "pipefail", "-c", line])
        assert said[line].code == 0, said[line].err
        if line == "firelift stop":
            assert running.wait().code == 3
            assert tables_of(database_url) == {}
        if line == "firelift migrate --resume":
            assert tables_of(database_url) == {"teams": 1, "users": 2, "users_orders": 1}
    assert "is rolled back" in said["firelift rollback"].out
    summary = (somebody.workspace / "migration-executive-summary.md").read_text()
    assert "**Rolled back: the target is as it was before this run.**" in summary
    assert somebody.firelift("migrate", "--resume").code == 2
    assert tables_of(database_url) == {}
    assert set(said) == {"firelift stop", "firelift migrate --resume", "firelift rollback", "firelift cleanup", "firelift cleanup --yes"}


def test_the_app_is_told_as_the_readme_says(operator: Operator, database_url: str) -> None:
    (block,) = those(is_app_config)
    somebody = Operator(operator.directory / "telling", {**operator.variables, "DATABASE_URL": database_url})
    (somebody.here / "app").mkdir(parents=True)
    (somebody.here / "app" / ".env").write_text("# ours\nDATA_BACKEND=firestore\n")
    (somebody.here / ".env").write_text(block.text)
    said = somebody.firelift("migrate", "--migration-id", "told")
    assert said.code == 0, said.err
    assert (somebody.here / "app" / ".env").read_text() == "# ours\nDATA_BACKEND=supabase\nDATA_SCHEMA=public\n"
    assert (somebody.here / "app" / ".env.before-told").read_text() == "# ours\nDATA_BACKEND=firestore\n"


def test_what_the_readme_says_for_a_proof(operator: Operator, database_url: str) -> None:
    somebody = Operator(operator.directory / "proving", {**operator.variables, "DATABASE_URL": database_url})
    for line in [line for block in those(is_verifying) for line in block.lines]:
        said = somebody.run(["bash", "-euo", "pipefail", "-c", line])
        assert said.code == 0, said.err
        assert any(text in said.out for text in ("All expectations are met.", "Completed: every document", "Equal: the row decodes"))
    results = somebody.workspace / "verification-results"
    assert all((results / name).is_file() for name in ("verification.json", "differences.csv", "data-docs/index.html"))


def test_what_the_readme_says_to_keep_it_in_step(emulator_host: str, prefect_api: str, database_url: str, tmp_path: Path) -> None:
    """What was deleted, changed and made while nothing was running is as it should be after the next run; another one does nothing."""
    (block,) = those(is_keeping_in_step)
    with new_source(emulator_host) as source:
        write(source, APP)
        surroundings = {"FIRESTORE_EMULATOR_HOST": emulator_host, "GOOGLE_CLOUD_PROJECT": source.project, "PREFECT_API_URL": prefect_api}
        somebody = Operator(tmp_path, {**surroundings, "DATABASE_URL": database_url})
        assert somebody.firelift("migrate").code == 0
        delete_documents(emulator_host, source.name, ["users/bob"])
        write(source, {"users/ada": {"name": "Ada Lovelace"}, "users/cy": {"name": "Cy"}})
        planned, done = (somebody.run(["bash", "-euo", "pipefail", "-c", line]) for line in block.lines)
        assert (planned.code, done.code) == (0, 0), planned.err + done.err
        assert "Nothing has been written to the target." in planned.out
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT id, name FROM users ORDER BY id").fetchall() == [("ada", "Ada Lovelace"), ("cy", "Cy")]
            assert connection.execute("SELECT users_id, id FROM users_orders").fetchall() == [("bob", "1")]
        before = versions_of_rows(database_url)
        again = somebody.run(["bash", "-euo", "pipefail", "-c", block.lines[-1]])
        assert again.code == 0, again.err
        assert "nothing has changed" in again.out
        report = json.loads((somebody.workspace / "final-migration-report.json").read_text())
        assert report["increment"]["totals"] == {**report["increment"]["totals"], "new": 0, "changed": 0, "gone": 0, "unchanged": 4}
        assert versions_of_rows(database_url) == before


def versions_of_rows(database_url: str) -> list[tuple[str, str, str]]:
    """Table, place and transaction of every row: other ones as soon as anybody has written it again, even with the same content."""
    with psycopg.connect(database_url) as connection:
        return [
            (table, str(place), str(transaction))
            for table in sorted(tables_of(database_url))
            for place, transaction in connection.execute(sql.SQL("SELECT ctid, xmin FROM {} ORDER BY 1").format(sql.Identifier(table)))
        ]


def test_what_the_readme_says_for_a_trial(operator: Operator, database_url: str) -> None:
    (block,) = those(is_trying)
    somebody = Operator(operator.directory / "trying", {**operator.variables, "DATABASE_URL": database_url})
    said = somebody.run(["bash", "-euo", "pipefail", "-c", block.text])
    assert said.code == 0, said.err
    assert "Estimate for the full run" in said.out
    assert is_untouched(database_url)


def assert_working_directory_is_as_shown(workspace: Path) -> None:
    (tree,) = those(is_tree)
    run = max((workspace / "runs").iterdir())
    top, below = tree.text.split("runs/<migration-id>/", 1)
    names = re.findall(r"[\w-]+(?:\.json|\.md|\.html|/)", top.removeprefix("migration-workspace/"))
    assert len(names) == 7
    assert [name for name in names if not (workspace / name).exists()] == []
    directories = re.findall(r"^ +(\w+)/ ", below, re.MULTILINE)
    assert directories == ["archive", "tables", "rejects"]
    assert [name for name in directories if not (run / name).is_dir()] == []


def assert_the_engine_runs_from_python(operator: Operator, database_url: str) -> None:
    (block,) = those(is_pandas)
    code = block.text.replace('"my-app"', repr(operator.variables["GOOGLE_CLOUD_PROJECT"])).replace(
        '"postgresql://..."', repr(database_url)
    )
    said = operator.run([str(PROGRAMS / "python"), "-c", code + 'print(run.report["status"], len(users), *users.columns)'])
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].split()[:5] == ["completed", "2", "id", "created_at", "name"]


def test_the_mapping_file_gives_the_names_it_says_and_a_plan_writes_nothing(operator: Operator, database_url: str) -> None:
    (block,) = those(is_mapping)
    operator.here.mkdir(exist_ok=True)
    (operator.here / "mapping.json").write_text(block.text)
    said = operator.with_(DATABASE_URL=database_url).firelift("plan", "--mapping", "mapping.json", "--json")
    assert said.code == 0, said.err
    assert is_untouched(database_url)
    users = next(table for table in json.loads(said.out)["plan"]["tables"] if table["collection"] == "users")
    named = json.loads(block.text)["collections"]["users"]
    assert users["table"] == named["table"]
    assert {column["field"]: column["name"] for column in users["columns"]}.items() >= named["columns"].items()
