"""The archive's chunks: there, whole, and still there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firelift.storage.archive import Chunk, RangeArchive, read_chunk


def written(archive: RangeArchive, number: int) -> Chunk:
    path = f"users/{number}"
    return archive.write(number, [path], [1], [2], [b"content"], path, 0)


def test_a_chunk_is_on_the_disk_before_its_line_and_its_line_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks over the shoulder of fsync, as nothing else tells whether the disk has something."""
    really, synced = os.fsync, list[tuple[int, int]]()

    def fsync(descriptor: int) -> None:
        really(descriptor)
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    archive = RangeArchive(tmp_path, 0)
    for number in range(2):
        synced.clear()
        chunk, directory, listing = archive.path(written(archive, number)).stat(), tmp_path.stat(), archive.listing.stat()
        assert synced == [(found.st_ino, found.st_size) for found in (chunk, directory, listing)]


def test_a_line_that_was_cut_off_is_cut_away_and_nothing_else(tmp_path: Path) -> None:
    archive = RangeArchive(tmp_path, 0)
    first, second = written(archive, 0), written(archive, 1)
    file = archive.listing.stat().st_ino
    with archive.listing.open("a") as listing:
        listing.write('{"name": "hal')
    archive.repair()
    assert archive.listing.stat().st_ino == file
    assert archive.chunks() == [first, second]
    third = written(archive, 2)
    assert archive.chunks() == [first, second, third]
    assert [list(read_chunk(archive.file(chunk))) for chunk in archive.chunks()] == [[(f"users/{n}", b"content")] for n in range(3)]
