"""The receipts of a run: what is done, under which conditions, and what is to be done again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firelift.files import FileChanged, read_sealed, write_sealed
from firelift.receipts import Extracted, PhaseReceipt, Staged
from firelift.run.receipt_files import Receipts

DONE = PhaseReceipt(totalRecords=7, collections=2)


@pytest.fixture
def receipts(tmp_path: Path) -> Receipts:
    kept = Receipts(tmp_path)
    kept.keep("extraction", "f00d", DONE)
    return kept


def test_a_step_is_done_under_the_conditions_of_its_receipt_and_no_others(receipts: Receipts) -> None:
    assert receipts.done("extraction", "f00d") == DONE
    assert receipts.done("extraction", "f00d-again-1") is None
    assert receipts.done("transformation", "f00d") is None


def test_a_receipt_comes_back_as_what_it_was(receipts: Receipts) -> None:
    receipts.keep("load-users", "f00d-token", Staged(token="token", published=False))
    assert receipts.done("load-users", "f00d-token") == Staged(token="token", published=False)


def test_the_last_receipt_is_read_whatever_it_is_valid_for(receipts: Receipts) -> None:
    receipts.keep("extraction", "another", PhaseReceipt(totalRecords=8, collections=2))
    assert receipts.last("extraction", PhaseReceipt).totalRecords == 8
    with pytest.raises(FileNotFoundError):
        receipts.last("extract-users", Extracted)


def test_a_damaged_receipt_is_none_and_is_named_where_it_is_needed(receipts: Receipts) -> None:
    file = receipts.file("extraction")
    file.write_text(file.read_text().replace("7", "9"))
    assert receipts.is_damaged("extraction")
    assert receipts.done("extraction", "f00d") is None
    with pytest.raises(FileChanged, match=r"receipts/extraction\.json"):
        receipts.last("extraction", PhaseReceipt)


@pytest.mark.parametrize("change", [{"kind": "NoSuchReceipt"}, {"kind": "summed"}, {"totalRecords": "many"}])
def test_a_receipt_of_another_version_is_none(change: dict[str, object], receipts: Receipts) -> None:
    file = receipts.file("extraction")
    content = json.loads(read_sealed(file)) | change
    write_sealed(file, json.dumps(content))
    assert receipts.done("extraction", "f00d") is None
