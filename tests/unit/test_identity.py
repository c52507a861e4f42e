"""Which run a command means: a new one, or one that goes on, with the settings it began with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from firelift.migration.identity import NotACheckpoint, NothingToResume, RunExists, SettingsMismatch, register_run, resolve_run
from firelift.run.directory_lock import RunAtWork, locked
from firelift.run.receipt_files import ReceiptMissing, refuse_unskippable
from firelift.run.status import Status
from firelift.run.stop_request import forget_stop, request_stop, stop_requested
from firelift.run.workspace import NoSuchRun, NotOurDirectory, Workspace
from firelift.settings.settings import Settings


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("MIGRATION_"):
            monkeypatch.delenv(name)


def source(settings: Settings) -> str:
    return f"projects/{settings.project_id}"


def began(migration_id: str, working_dir: Path = Path("work"), ended: str = "failed", **options: object) -> Workspace:
    """A run that began, with these options, and ended so."""
    settings = Settings.load(working_dir=working_dir, project_id="p", **options).named(migration_id)
    workspace = Workspace(working_dir, migration_id).create()
    register_run(workspace, settings, source(settings))
    with Status.open(workspace) as status:
        status.complete() if ended == "completed" else status.fail(RuntimeError("it failed"))
    return workspace


def resume(**options: object) -> Settings:
    return resolve_run(Settings.load(**{"working_dir": "work", "resume": True, "project_id": "p", **options}), "new", source)


def test_a_new_run_gets_the_name_it_is_given_or_a_new_one() -> None:
    assert resolve_run(Settings.load(), "new", source).migration_id == "new"
    assert resolve_run(Settings.load(migration_id="mine"), "new", source).migration_id == "mine"


def test_the_name_of_an_earlier_run_is_refused() -> None:
    began("mine")
    with pytest.raises(RunExists, match="mine"):
        resolve_run(Settings.load(working_dir="work", migration_id="mine"), "new", source)


def test_the_same_flow_run_carried_out_again_goes_on() -> None:
    settings = Settings.load(working_dir="work", migration_id="mine", project_id="p")
    register_run(Workspace(Path("work"), "mine").create(), settings, source(settings), flow_run="flow-1")
    assert resolve_run(settings, "new", source, "flow-1").resume
    with pytest.raises(RunExists):
        resolve_run(settings, "new", source, "flow-2")


def test_a_resume_takes_what_is_not_given_from_the_beginning() -> None:
    began("mine", collections="users", target_schema="shop", batch_size=7)
    settings = resume()
    assert (settings.migration_id, settings.collections, settings.target_schema, settings.batch_size) == ("mine", ("users",), "shop", 7)
    assert resume(batch_size=9).batch_size == 9


def test_settings_that_would_give_another_result_are_listed() -> None:
    began("mine", collections="users")
    with pytest.raises(SettingsMismatch, match=r"collections was: \['users'\], now \['teams'\].*naming was: 'snake_case', now 'preserve'"):
        resume(collections="teams", naming="preserve")


def test_another_firestore_database_is_refused_and_the_same_by_another_way_is_not() -> None:
    began("mine")
    with pytest.raises(SettingsMismatch, match="firestore was: 'projects/p', now 'projects/q'"):
        resume(project_id="q")
    named_by_key_file = Settings.load(working_dir="work", resume=True)
    assert resolve_run(named_by_key_file, "new", lambda _: "projects/p").migration_id == "mine"


def test_a_mapping_that_says_something_else_now_is_refused() -> None:
    Path("mapping.json").write_text("{}")
    began("mine", mapping="mapping.json")
    Path("mapping.json").write_text('{"collections": {}}')
    with pytest.raises(SettingsMismatch, match="mapping was: the content of the file has changed"):
        resume()


def test_a_plan_in_between_is_not_the_run_that_is_resumed() -> None:
    began("real")
    began("only-a-plan", dry_run=True)
    assert resume().migration_id == "real"
    assert resume(dry_run=True).migration_id == "only-a-plan"
    with pytest.raises(SettingsMismatch, match="dry run was: True, now False"):
        resume(migration_id="only-a-plan")


def test_a_run_that_was_refused_before_it_began_is_not_the_last_one() -> None:
    began("real")
    Workspace(Path("work"), "refused").create()
    assert resume().migration_id == "real"


def test_a_completed_run_goes_on_only_when_it_is_named() -> None:
    began("done", ended="completed")
    with pytest.raises(NothingToResume, match="done"):
        resume()
    assert resume(migration_id="done").migration_id == "done"


def test_a_checkpoint_names_the_run_and_its_working_directory() -> None:
    workspace = began("mine", Path("elsewhere"))
    settings = resolve_run(Settings.load(checkpoint_file=workspace.run / "migration-checkpoint.json", project_id="p"), "new", source)
    assert (settings.migration_id, settings.resume) == ("mine", True)
    assert settings.working_dir.resolve() == Path("elsewhere").resolve()


def test_a_copied_checkpoint_names_the_run_of_the_working_directory() -> None:
    workspace = began("mine")
    Path("copy.json").write_bytes((workspace.run / "migration-checkpoint.json").read_bytes())
    assert resume(checkpoint_file="copy.json").migration_id == "mine"
    with pytest.raises(NoSuchRun, match=r"copy\.json"):
        resume(checkpoint_file="copy.json", working_dir="empty")


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", '{"migrationId": 3}', '{"migrationId": null}', "[" * 200_000),
        *(
            json.dumps({"migrationId": name})
            for name in ("../x", "../../x", "..", ".", "/tmp/x", "a/b", "a\0b", "\0", "x" * 300, "a\nb", "")
        ),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(text: str) -> None:
    Path("some.json").write_text(text)
    with pytest.raises(NotACheckpoint, match=r"some\.json"):
        resume(checkpoint_file="some.json")


def test_a_checkpoint_in_the_directory_of_a_run_names_no_other() -> None:
    began("other")
    workspace = began("mine")
    (workspace.run / "migration-checkpoint.json").write_text('{"migrationId": "other"}')
    with pytest.raises(NotACheckpoint, match="in the directory of another run"):
        resume(checkpoint_file=workspace.run / "migration-checkpoint.json")


@pytest.mark.parametrize("rights", [0o770, 0o707])
def test_a_run_is_resumed_only_from_a_directory_that_nobody_else_writes_to(rights: int) -> None:
    workspace = began("mine")
    workspace.run.chmod(rights)
    for named in ({"migration_id": "mine"}, {}, {"checkpoint_file": workspace.run / "migration-checkpoint.json"}):
        with pytest.raises(NotOurDirectory, match="others may write there"):
            resume(**named)


def test_a_checkpoint_and_the_name_of_another_run_contradict_each_other() -> None:
    workspace = began("mine")
    began("other")
    with pytest.raises(NotACheckpoint, match="of: mine, migration id: other"):
        resume(checkpoint_file=workspace.run / "migration-checkpoint.json", migration_id="other")


def test_nothing_secret_is_written_down() -> None:
    workspace = began("mine", database_url="postgresql://u:canary-7@h/d", supabase_key="canary-8")
    assert "canary" not in (workspace.run / "run.json").read_text()
    assert json.loads((workspace.run / "run.json").read_text())["token"]


def test_one_process_holds_a_run_at_a_time() -> None:
    workspace = Workspace(Path("work"), "mine")
    with locked(workspace), pytest.raises(RunAtWork, match="mine"), locked(workspace):
        pass
    with locked(workspace):
        pass


def test_only_what_was_asked_of_an_earlier_attempt_is_forgotten() -> None:
    workspace = Workspace(Path("work"), "mine").create()
    request_stop(workspace)
    forget_stop(workspace, seconds=60)
    assert stop_requested(workspace)
    os.utime(workspace.run / "stop-requested", (1, 1))
    forget_stop(workspace, seconds=60)
    assert not stop_requested(workspace)
    forget_stop(workspace, seconds=60)


def test_a_phase_without_a_receipt_cannot_be_skipped() -> None:
    workspace = Workspace(Path("work"), "mine").create()
    refuse_unskippable(workspace, ["verification", "post_migration"])
    with pytest.raises(ReceiptMissing, match=r"receipts/extraction\.json"):
        refuse_unskippable(workspace, ["verification", "extraction"])
