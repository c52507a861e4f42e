"""A dead run goes on wherever its working directory and target are seen, as the run it was, or says why it cannot."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Operator
from tests.support.gateway import Gateway
from tests.support.holding import dead_in
from tests.support.migrating import SOAK, VERIFIED, Content, Ground, Place, Undisturbed, differences, files_below
from tests.support.prefect_servers import PHASES, Api, eventually, prefect_server
from tests.support.warm_commands import BY_PREFECT

ROOTS = ("cities", "rooms", "users")


@pytest.fixture(scope="module")
def loading(ground: Ground, front: Gateway) -> Iterator[Place]:
    """A run that died while it loaded: only to be copied."""
    with dead_in("import", ground, front, **BY_PREFECT) as place:
        yield place


@pytest.fixture(scope="module")
def publishing(ground: Ground, front: Gateway) -> Iterator[Place]:
    """A run that died while it published, with the receipts of all phases but the last."""
    with dead_in("publish", ground, front, **BY_PREFECT) as place:
        yield place


def goes_on(place: Place, front: Gateway, undisturbed: Undisturbed, *arguments: str) -> None:
    """Nothing is read again, and the end is the same."""
    before, passed = place.archived(), front.count()
    said = place.migrate("--resume", *arguments)
    assert said.code == 0, said.err
    assert before.files.items() <= place.archived().files.items()
    assert passed.documents == undisturbed.documents - before.documents
    assert differences(place.content(), undisturbed.content) == []


def lose_receipts(place: Place) -> None:
    """Nothing says any more what was done."""
    shutil.rmtree(place.run / "receipts")


def test_finished_work_is_cached_in_prefect(loading: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed, api: Api) -> None:
    with ground.copy(loading, **BY_PREFECT, **VERIFIED) as place:
        goes_on(place, front, undisturbed)
        (run, *_) = api.every("flow_runs", flow_runs={"name": {"any_": [f"full {place.migration_id}"]}}, sort="START_TIME_DESC")
        finished = ["pre_validation", "extraction", "planning", "transformation"]
        finished += [f"{verb} {root}" for verb in ("extract", "transform") for root in ROOTS]
        states = eventually(60, lambda: _states(api, run) if set(PHASES) <= _states(api, run).keys() else None)
        assert {name: states[name] for name in finished} == dict.fromkeys(finished, "Cached")
        assert {name: states[name] for name in ("import", "publish", "post_migration")} == dict.fromkeys(
            ("import", "publish", "post_migration"), "Completed"
        )


def _states(api: Api, run: Mapping[str, Any]) -> dict[str, str]:
    return {task["name"]: task["state_name"] for task in api.tasks_of(run["id"]) if task["end_time"]}


FROM_PYTHON = """
import os, sys
import firelift
from firelift.migration.execution import InlineSteps

carried_out = InlineSteps._retried

def carry_out(self, step, *arguments, **options):
    if step.__name__ == sys.argv[1]:
        os._exit(9)
    print(step.__name__, flush=True)
    return carried_out(self, step, *arguments, **options)

InlineSteps._retried = carry_out
firelift.migrate(firelift.Settings(**({"resume": True} if len(sys.argv) > 2 else {})))
"""


def from_python(place: Place, *arguments: str) -> tuple[int, list[str]]:
    """The migration carried out by `firelift.migrate`: how it ended, and the steps that were not done before."""
    said = place.operator.run([sys.executable, "-c", FROM_PYTHON, *arguments])
    assert said.code in (0, 9), said.err
    return said.code, said.out.split()


def test_python_goes_on_with_what_prefect_has_carried_out(loading: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.copy(loading) as place:
        passed = front.count()
        code, done = from_python(place, "", "resume")
        assert (code, passed.documents) == (0, 0)
        assert set(done) == {"register", "staging", "load", "import_", "skip_verification", "publish", "post_migration"}
        assert differences(place.content(), undisturbed.content) == []


def test_prefect_goes_on_with_what_python_has_carried_out(ground: Ground, front: Gateway, undisturbed: Undisturbed, api: Api) -> None:
    with ground.place(**BY_PREFECT) as place:
        assert from_python(place, "import_")[0] == 9
        passed = front.count()
        said = place.migrate("--resume")
        assert (said.code, passed.documents) == (0, 0), said.err
        (run, *_) = api.every("flow_runs", flow_runs={"name": {"any_": [f"full {place.migration_id}"]}}, sort="START_TIME_DESC")
        finished = ["pre_validation", "extraction", "planning", "transformation"]
        finished += [f"{verb} {root}" for verb in ("extract", "transform", "load") for root in ROOTS]
        states = eventually(60, lambda: _states(api, run) if set(PHASES) - {"verification"} <= _states(api, run).keys() else None)
        assert {name: states[name] for name in finished} == dict.fromkeys(finished, "Cached")
        assert differences(place.content(), undisturbed.content) == []


# Prefect's block takes no `file://`; this is fsspec's other word for files, below the directory in which the command is started.
BLOCK = """
from prefect.filesystems import RemoteFileSystem
RemoteFileSystem(basepath="local://kept", settings={"auto_mkdir": True}).save("kept")
"""


def test_receipts_may_be_kept_in_another_storage(ground: Ground, front: Gateway, undisturbed: Undisturbed, tmp_path: Path) -> None:
    said = Operator(tmp_path, {"PREFECT_API_URL": ground.prefect}).run([sys.executable, "-c", BLOCK])
    assert said.code == 0, said.err
    with dead_in("import", ground, front, **BY_PREFECT, PREFECT_DEFAULT_RESULT_STORAGE_BLOCK="remote-file-system/kept") as place:
        kept = place.operator.here / "kept" / place.migration_id
        receipts = set(files_below(kept))
        assert {"pre_validation", "extract-users", "extraction", "transformation"} <= {name.partition("/")[0] for name in receipts}
        assert not list(place.run.glob("prefect-results/*"))
        goes_on(place, front, undisturbed)
        assert receipts < set(files_below(kept))


def test_another_machine_goes_on_with_the_run(
    loading: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """With another home, another Prefect server, and the working directory mounted at another path."""
    mounted = tmp_path / "mounted"
    with ground.copy(loading, **BY_PREFECT) as place, prefect_server(tmp_path) as other:
        mounted.symlink_to(place.workspace)
        given = {"MIGRATION_MIGRATION_ID", "PREFECT_HOME"}
        variables = {name: value for name, value in place.operator.variables.items() if name not in given}
        there = Operator(tmp_path / "machine", {**variables, "PREFECT_API_URL": other, "PREFECT_HOME": str(tmp_path / "prefect")})
        before, passed = place.archived(), front.count()
        said = Place(there, place.url, place.migration_id).migrate("--resume", "--working-dir", str(mounted))
        assert said.code == 0, said.err
        assert before.files.items() <= place.archived().files.items()
        assert passed.documents == 0
        assert differences(place.content(), undisturbed.content) == []


@pytest.mark.parametrize("phase", ["extraction", "import"])
def test_lost_receipts_cost_time_but_no_read(phase: str, loading: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.copy(loading, **BY_PREFECT) if phase == "import" else dead_in(phase, ground, front) as place:
        lose_receipts(place)
        goes_on(place, front, undisturbed)


def damage(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])


def test_what_was_damaged_meanwhile_is_found_and_made_again(loading: Place, ground: Ground, undisturbed: Undisturbed) -> None:
    """Rows of the archive's documents; the archive itself of Firestore's, once that was said."""
    with ground.copy(loading) as copied:
        place = copied.with_(**VERIFIED)
        chunk = min((place.run / "archive" / "cities").glob("*.parquet"))
        rows = min((place.run / "tables" / "users").glob("*.parquet"))
        damage(chunk)
        damage(rows)
        said = place.migrate("--resume")
        assert said.code == 1, said.err
        assert str(chunk) in said.error
        assert "--resume" in said.error
        said = place.migrate("--resume")
        assert said.code == 0, said.err
        warnings = [warning["message"] for warning in place.status()["warnings"]]
        assert [file.name for file in (chunk, rows) if not any(str(file) in told and "again" in told for told in warnings)] == []
        assert differences(place.content(), undisturbed.content) == []


def edited(file: Path, before: str, after: str) -> None:
    content = file.read_text()
    assert before in content
    file.write_text(content.replace(before, after, 1))


def test_a_plan_and_receipts_that_were_edited_meanwhile_are_found_and_made_again(
    loading: Place, ground: Ground, undisturbed: Undisturbed
) -> None:
    with ground.copy(loading, **BY_PREFECT, **VERIFIED) as place:
        plan, receipt = place.run / "plan.json", min((place.run / "transformed" / "users").glob("*.json"))
        summed = place.run / "receipts" / "transformation.json"
        edited(plan, '"kind": "string"', '"kind": "json"')
        edited(receipt, '"documents":', '"documents":1')
        edited(summed, "transformedRecords", "transformedrecords")
        said = place.migrate("--resume")
        assert said.code == 1, said.err
        assert str(plan) in said.error
        assert "changed after it was written" in said.error
        assert "--resume" in said.error
        said = place.migrate("--resume")
        assert said.code == 0, said.err
        warnings = [warning["message"] for warning in place.status()["warnings"]]
        assert [file.name for file in (plan, receipt, summed) if not any(str(file) in told and "again" in told for told in warnings)] == []
        assert differences(place.content(), undisturbed.content) == []


@pytest.mark.parametrize("name", ["receipts/pre_validation.json", "run.json"])
def test_what_a_run_began_with_cannot_be_made_again(name: str, loading: Place, ground: Ground) -> None:
    with ground.copy(loading) as place:
        target = place.content()
        damage(place.run / name)
        said = place.migrate("--resume")
        assert said.code == 1, said.err
        assert f"{place.migration_id}/{name}" in said.error
        assert "start a new run" in said.error
        assert differences(place.content(), target) in ([], _failed_instead_of(target))


DIFFERING = {
    "--naming": "preserve",
    "--collections": "users",
    "--exclude-collections": "rooms",
    "--target-schema": "elsewhere",
    "--foreign-keys": "strict",
    "--project-id": "another",
    "--firestore-database": "another",
}


def told(option: str) -> str:
    name = "firestore" if option in ("--project-id", "--firestore-database") else option[2:].replace("-", " ")
    return f"{name} was: "


def test_settings_that_differ_are_listed_and_nothing_is_touched(loading: Place, ground: Ground) -> None:
    with ground.copy(loading) as place:
        before, target = files_below(place.workspace), place.content()
        for option, value in DIFFERING.items():
            said = place.migrate("--resume", option, value)
            assert said.code == 2, f"{option}: {said.err}"
            assert told(option) in said.error
        said = place.migrate("--resume", *(text for both in DIFFERING.items() for text in both))
        assert said.code == 2
        assert all(told(option) in said.error for option in DIFFERING)
        assert files_below(place.workspace) == before
        assert differences(place.content(), target) == []


def test_settings_that_do_not_decide_the_result_may_differ(
    loading: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed
) -> None:
    with ground.copy(loading) as place:
        goes_on(place, front, undisturbed, "--batch-size", "17", "--max-workers", "1")


def test_a_checkpoint_file_names_the_run(loading: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.copy(loading) as place:
        later = place.with_(MIGRATION_MIGRATION_ID="later", FIRESTORE_EMULATOR_HOST="127.0.0.1:9")
        assert later.migrate().code != 0
        assert Path(place.workspace / "migration-status.json").resolve().parent.name == "later"
        file = place.run / "migration-checkpoint.json"
        somewhere = Operator(place.operator.directory / "somewhere", place.with_(MIGRATION_MIGRATION_ID=None).operator.variables)
        before, passed = place.archived(), front.count()
        said = Place(somewhere, place.url, place.migration_id).migrate("--resume", "--checkpoint-file", str(file))
        assert said.code == 0, said.err
        assert passed.documents == undisturbed.documents - before.documents
        # The target knows of the later one too, if that got so far.
        assert differences(_but_runs(place.content()), _but_runs(undisturbed.content)) == []


def _but_runs(content: Content) -> Content:
    return {what: lines for what, lines in content.items() if what != "runs"}


def test_a_snapshot_that_firestore_keeps_no_longer_is_said_to_be_gone(ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with dead_in("extraction", ground, front) as place:
        archived, target = place.archived(), place.content()
        with front.without_snapshot():
            said = place.migrate("--resume")
        assert said.code == 1, said.err
        assert "Firestore no longer keeps the snapshot of this migration" in said.error
        assert "--on-expired-snapshot catch-up" in said.error
        assert archived.files.items() <= place.archived().files.items()
        assert differences(place.content(), target) in ([], _failed_instead_of(target))
        goes_on(place, front, undisturbed)


def _failed_instead_of(target: Content) -> list[str]:
    return [f"runs: 1 instead of 1; too much: ['failed']; missing: {target.get('runs', [])}"]


NEEDED = ["pre_validation", "extraction", "transformation", "import"]


@pytest.mark.parametrize("skipped", [*NEEDED, "extraction,import,verification", ",".join(PHASES)])
def test_a_new_run_says_which_receipt_it_lacks(skipped: str, ground: Ground) -> None:
    with ground.place() as place:
        target = place.content()
        said = place.migrate("--skip-phases", skipped)
        assert said.code == 2, said.err
        assert next(phase for phase in skipped.split(",") if phase in NEEDED) in said.error
        assert "receipt" in said.error
        assert differences(place.content(), target) == []
        assert not place.run.exists()


@pytest.mark.parametrize("skipped", ["verification,post_migration", *(["verification", "post_migration"] if SOAK else [])])
def test_a_new_run_may_leave_out_what_nothing_needs(skipped: str, ground: Ground, undisturbed: Undisturbed) -> None:
    with ground.place() as place:
        said = place.migrate("--skip-phases", skipped)
        assert said.code == 0, said.err
        assert {place.state(phase) for phase in skipped.split(",")} == {"skipped"}
        assert differences(place.content(), undisturbed.content) == []


@pytest.mark.parametrize(
    "skipped", ["import,verification", ",".join(PHASES), *([",".join(NEEDED), *PHASES, "extraction,transformation"] if SOAK else [])]
)
def test_a_resumed_run_leaves_out_what_it_has_receipts_of(
    skipped: str, publishing: Place, ground: Ground, front: Gateway, undisturbed: Undisturbed
) -> None:
    with ground.copy(publishing) as place:
        goes_on(place, front, undisturbed, "--skip-phases", skipped)
        assert {place.state(phase) for phase in skipped.split(",")} == {"skipped"}
        assert place.status()["status"] == "completed"


@pytest.mark.parametrize("skipped", ["import", "pre_validation,extraction,transformation,import"])
def test_a_resumed_run_says_which_receipt_it_lacks(skipped: str, loading: Place, ground: Ground) -> None:
    with ground.copy(loading) as place:
        before, target = files_below(place.workspace), place.content()
        said = place.migrate("--resume", "--skip-phases", skipped)
        assert said.code == 2, said.err
        assert "phase: import" in said.error
        assert files_below(place.workspace) == before
        assert differences(place.content(), target) == []
