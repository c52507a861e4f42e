"""Extraction that goes on over chunks that are not as they were written: it reads their documents again, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firelift.firestore.channel import Source
from firelift.paths import Selection
from firelift.phases.extraction import extract_collection, read_profile
from firelift.phases.pre_validation import root_found, survey
from firelift.planning.profile import profile_to_json
from firelift.receipts import Extracted
from firelift.storage.archive import DIGEST, ArchiveDamaged, ranges, read_chunk
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.workers import Workers
from tests.support.whole_way import new_source, write

BATCH = 3
SELECTION = Selection(exclude=["users/*/drafts"])


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, {f"users/{n:02}": {"n": n} for n in range(12)} | {f"users/{n:02}/drafts/d": {"left": "out"} for n in range(12)})
        yield source


class Reading:
    """One root collection into an archive, as often as wanted."""

    def __init__(self, workers: Workers, source: Source, archive: Path) -> None:
        self.workers, self.source, self.archive = workers, source, archive
        snapshot = workers.call(survey, source, "now", SELECTION, 0)
        [root] = snapshot.roots
        self.root = root_found(root)
        self.read_time = snapshot.read_time

    def extract(self, batch_size: int = BATCH) -> Extracted:
        inputs = ExtractionInputs(self.source, self.root, self.archive, self.read_time, SELECTION, batch_size, 1000)
        return extract_collection(self.workers, inputs, lambda *_: None)

    @property
    def directory(self) -> Path:
        return self.archive / "users"

    def documents(self) -> list[tuple[str, bytes]]:
        return [each for part in ranges(self.directory) for chunk in part.chunks() for each in read_chunk(part.file(chunk))]

    def profile(self) -> object:
        return profile_to_json(read_profile(self.archive, ["users"]))


@pytest.fixture
def reading(workers: Workers, source: Source, tmp_path: Path) -> Reading:
    return Reading(workers, source, tmp_path)


def changed(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("damage", [changed, cut_off, Path.unlink])
@pytest.mark.parametrize("finished", [True, False])
def test_the_documents_of_a_damaged_chunk_are_read_again(
    reading: Reading, place: int, damage: Callable[[Path], None], finished: bool
) -> None:
    reading.extract()
    documents, profile = reading.documents(), reading.profile()
    if not finished:
        (reading.directory / DIGEST).unlink()
    files = sorted(reading.directory.glob("*.parquet"))
    written = {file: file.stat().st_mtime_ns for file in files}
    damage(files[place])
    again = reading.extract(batch_size=100)
    assert again.mended == (str(files[place]),)
    assert reading.documents() == documents
    assert reading.profile() == profile
    assert [file for file in files if file.stat().st_mtime_ns != written[file]] == [files[place]]


def test_an_archive_of_another_moment_is_not_gone_on_with(reading: Reading) -> None:
    reading.extract()
    reading.read_time = reading.workers.call(survey, reading.source, "now", SELECTION, 0).read_time
    with pytest.raises(ArchiveDamaged, match="snapshot of the run"):
        reading.extract()
