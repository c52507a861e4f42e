"""Files that say what they held when they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from firelift.files import FileChanged, read_sealed, sealed, unsealed, was_written, write_sealed
from firelift.phases.planning import PlanLost, existing_plan, last_plans
from firelift.planning.model import PLAN, Plan, TablePlan, keep_plan, read_plan
from firelift.receipts import ChunkTransformed
from firelift.run.workspace import Workspace, encode
from firelift.storage.archive import ArchiveDamaged, RangeArchive
from firelift.storage.transformed import read_rejects, receipt_path, rejects_path
from tasks.checkpoint import ReceiptJSON

TEXTS = ["{}", "{ }", '{\n "a": 1\n}', '{"sha256_of_rest":"mine"}', '{"é":"\\ud800\\r\\n"}\r\n', '{"a":{"b":[1.50,null]}}']


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_read_is_what_was_written_and_the_file_is_json_that_others_read(text: str, tmp_path: Path) -> None:
    file = tmp_path / "below" / "a.json"
    write_sealed(file, text)
    assert read_sealed(file) == text.encode()
    assert json.loads(file.read_bytes()).items() >= json.loads(text).items()


@pytest.mark.parametrize("text", TEXTS)
def test_a_change_of_any_byte_is_found(text: str, tmp_path: Path) -> None:
    content = sealed(text.encode())
    for place in range(len(content)):
        with pytest.raises(FileChanged, match=r"a\.json"):
            unsealed(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], tmp_path / "a.json")
        with pytest.raises(FileChanged):
            unsealed(content[:place], tmp_path / "a.json")
    with pytest.raises(FileChanged):
        unsealed(content + b"\n", tmp_path / "a.json")


def test_one_without_a_digest_is_taken_only_where_files_without_one_are_expected(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    with pytest.raises(FileChanged, match=r"does not begin with its digest.*--resume.*start a new run"):
        read_sealed(file)
    assert read_sealed(file, sealed_only=False) == b"{}"


def test_a_file_tells_what_it_was_whatever_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_sealed(file, '{"a": 1}')
    file.write_bytes(file.read_bytes().replace(b"1}", b"2}"))
    assert was_written(file, '{"a": 1}')
    assert not was_written(file, '{"a": 2}')


def test_a_workspace_looks_at_the_digest_of_what_has_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "one").create()
    file = workspace.write("a.json", sealed(encode({"n": 12}, indent=2)))
    assert workspace.read_json("a.json")["n"] == 12
    file.write_bytes(file.read_bytes().replace(b"12", b"13"))
    with pytest.raises(FileChanged, match=r"a\.json"):
        workspace.read_json("a.json")


def planned(column: str) -> Plan:
    return Plan(database="projects/p/databases/d", tables=(TablePlan(collection="users", table=column, keys=("id",), columns=()),))


def begun(run: Path) -> None:
    write_sealed(receipt_path(run, "users/0000-000000"), ChunkTransformed(chunk="users/0000-000000", documents=0).model_dump_json())


def test_a_changed_plan_is_taken_again_only_if_it_is_made_to_the_letter(tmp_path: Path) -> None:
    run, mended = tmp_path / "one", list[str]()
    begun(run)
    keep_plan(run, planned("users"))
    file = run / PLAN
    file.write_bytes(file.read_bytes().replace(b'"table": "users"', b'"table": "other"'))
    with pytest.raises(FileChanged, match=r"plan\.json"):
        read_plan(run)
    for made in (None, lambda: planned("another")):
        with pytest.raises(PlanLost, match=r"plan\.json.*start a new run"):
            existing_plan(run, made, mended.append)
    assert last_plans(tmp_path) == {}
    assert mended == []
    assert existing_plan(run, lambda: planned("users"), mended.append) == planned("users")
    assert mended == [str(file)]


def test_a_changed_line_in_a_list_of_chunks_is_found_before_the_list_has_a_digest(tmp_path: Path) -> None:
    archive = RangeArchive(tmp_path, 0)
    archive.write(0, ["users/1"], [1], [2], [b"content"], "users/1", 0)
    archive.listing.write_bytes(archive.listing.read_bytes().replace(b'"last_key": "users/1"', b'"last_key": "users/2"'))
    with pytest.raises(ArchiveDamaged, match=r"0000\.jsonl"):
        archive.chunks()


def edited(file: Path) -> None:
    file.write_text('{"path": "users/2"}\n')


@pytest.mark.parametrize("change", [edited, Path.unlink])
def test_rejected_documents_are_those_that_the_receipt_tells_of(change: Callable[[Path], None], tmp_path: Path) -> None:
    line = b'{"path": "users/1"}\n'
    told = ChunkTransformed(chunk="users/0000-000000", documents=1, rejects=hashlib.sha256(line).hexdigest())
    file = rejects_path(tmp_path, told.chunk)
    file.parent.mkdir()
    file.write_bytes(line)
    assert read_rejects(tmp_path, told) == {"users/1"}
    change(file)
    with pytest.raises(FileChanged, match=r"rejects/users-0000-000000\.jsonl"):
        read_rejects(tmp_path, told)


def test_an_error_that_prefect_wants_to_keep_is_json() -> None:
    kept = ReceiptJSON().loads(ReceiptJSON().dumps(ValueError("no")))
    assert str(kept) == "no"


def test_a_changed_receipt_is_none_that_prefect_can_read() -> None:
    receipt = ChunkTransformed(chunk="a", documents=1)
    kept = ReceiptJSON().dumps(receipt)
    assert ReceiptJSON().loads(kept) == receipt
    with pytest.raises(FileChanged):
        ReceiptJSON().loads(kept[:-2] + bytes([kept[-2] ^ 1]) + kept[-1:])
