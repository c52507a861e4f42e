"""The documents exactly as Firestore sent them, in Parquet chunks that appear whole or not at all.

A key range of a root collection has its chunks in `archive/<root>/<range>-<number>.parquet` and their list in
`archive/<root>/<range>.jsonl`; reading continues after the last key of the last listed chunk. A list has the digest of each chunk's
file, and `archive/<root>/digest.json` has the digest of the lists, so that reading either returns what was written or fails.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from firelift.errors import FireliftError
from firelift.files import FileChanged, appearing, sealed, storage_errors, unsealed, write_whole

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("create_time", pa.timestamp("us", "UTC")),
        ("update_time", pa.timestamp("us", "UTC")),
        ("document", pa.binary()),
    ]
)

# Few documents are large, but 5000 of the largest (1 MiB) would be 5 GB, so this size ends a chunk as well.
CHUNK_BYTES = 32 << 20

# Extraction's ranges count from 0 and are four a worker at most; from here on they are made of rows of the target.
FIRST_REWRITTEN: Final = 5000

DIGEST: Final = "digest.json"


class ArchiveDamaged(FireliftError):
    """The archive is no longer what was extracted into it."""

    recovery = "after_fix"
    remedy = "Nothing of it is published. Start a new run: other files may have changed as well."


class ChunkDamaged(ArchiveDamaged):
    """A file of the archive is no longer what was written."""

    remedy = (
        "Nothing of it is published. `firelift migrate --resume` reads its documents again, as of the run's snapshot; "
        "after an incremental or test run, start a new one. Check the disk, and who else writes there."
    )


class StoredFile(NamedTuple):
    """A file, and the sha256 of the bytes that were written to it."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Chunk:
    """One archive file: the documents after the previous chunk's `last_key`, up to and including its own."""

    name: str
    documents: int
    bytes: int
    last_key: str
    skipped: int
    """Documents that were read since the previous chunk and that the collection patterns leave out."""
    sha256: str
    """The digest of the file's bytes."""
    shares: dict[str, dict[str, int]] = field(default_factory=dict)
    """Its documents and their bytes by root collection."""
    read_time: str = ""
    """As of which moment they were read, where Firestore no longer kept the snapshot of the run; empty: as of that."""


def file_name(text: str) -> str:
    """A file name for any collection id or table name: readable, one to one, at most 120 bytes."""
    quoted = quote(text, safe="").replace(".", "%2E").replace("~", "%7E") or "%"
    # `Users` and `users` are one file on most Macs.
    if len(quoted) <= 120 and not re.search("[A-Z]", text):
        return quoted
    return quoted[:100] + "~" + hashlib.sha256(text.encode()).hexdigest()[:16]


class RangeArchive:
    """The chunks of one key range, written in key order."""

    def __init__(self, directory: Path, number: int) -> None:
        self.directory, self.number = directory, number
        self.listing = directory / f"{number:04}.jsonl"
        self.profile = directory / f"{number:04}.profile.json"

    def chunks(self) -> list[Chunk]:
        """The chunks that are whole. A last line that was cut off by a crash does not count."""
        if not self.listing.exists():
            return []
        try:
            lines = self.listing.read_bytes().split(b"\n")[:-1]
            return [Chunk(**json.loads(unsealed(line, self.listing))) for line in lines]
        except (ValueError, TypeError, FileChanged) as error:
            why = "its list of chunks was changed after it was written"
            raise ArchiveDamaged(file=str(self.listing), why=why) from error

    def path(self, chunk: Chunk) -> Path:
        return self._path(chunk.name)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name.rsplit('/', 1)[1]}.parquet"

    def file(self, chunk: Chunk) -> StoredFile:
        """The chunk's file, for reading."""
        return StoredFile(self.path(chunk), chunk.sha256)

    def write(
        self,
        number: int,
        paths: list[str],
        created: list[int],
        updated: list[int],
        documents: list[bytes],
        last_key: str,
        skipped: int,
        read_time: str = "",
    ) -> Chunk:
        """Adds a chunk; it counts from the moment its line stands in the list. When this returns, both survive a power cut."""
        name = f"{self.directory.name}/{self.number:04}-{number:06}"
        with storage_errors(self.listing), open(self.listing, "a", encoding="utf-8", opener=_private) as listing:
            sha256 = write_parquet(_table(paths, created, updated, documents), self._path(name), durable=True)
            chunk = Chunk(name, len(paths), sum(map(len, documents)), last_key, skipped, sha256, _shares(paths, documents), read_time)
            _sync(self.directory)  # the names of both files
            # Only now, as a line must not outlive its chunk. All three took 1 ms for a chunk of 5000 documents, on an SSD.
            listing.write(_line(chunk))
            listing.flush()
            os.fsync(listing.fileno())
        return chunk

    def discard(self) -> None:
        """Removes the whole range, which will be read again."""
        with storage_errors(self.listing):
            self.listing.unlink(missing_ok=True)
            self.profile.unlink(missing_ok=True)
            for chunk in self.directory.glob(f"{self.number:04}-*.parquet"):
                chunk.unlink()

    def replace(self, chunk: Chunk, paths: list[str], created: list[int], updated: list[int], documents: list[bytes]) -> None:
        """Writes the file of a listed chunk again, with the same documents, after its bytes were damaged."""
        sha256 = write_parquet(_table(paths, created, updated, documents), self.path(chunk), durable=True)
        lines = [_line(replace(listed, sha256=sha256) if listed.name == chunk.name else listed) for listed in self.chunks()]
        write_whole(self.listing, "".join(lines))

    def repair(self) -> None:
        """Cuts off a list's unfinished last line, so that the next chunk's line starts on its own."""
        if self.listing.exists():
            # Rewriting the file instead would leave it empty for a moment, and a power cut then would lose the list.
            with storage_errors(self.listing):
                os.truncate(self.listing, self.listing.read_bytes().rfind(b"\n") + 1)


def _shares(paths: list[str], documents: list[bytes]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for root, chosen in itertools.groupby(zip(paths, documents, strict=True), key=lambda pair: pair[0].partition("/")[0]):
        sizes = [len(document) for _, document in chosen]
        found[root] = {"documents": len(sizes), "bytes": sum(sizes)}
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _line(chunk: Chunk) -> str:
    return sealed(json.dumps(asdict(chunk)).encode()).decode() + "\n"


def _table(paths: list[str], created: list[int], updated: list[int], documents: list[bytes]) -> pa.Table:
    columns = [
        pa.array(paths, pa.string()),
        pa.array(created, pa.int64()),
        pa.array(updated, pa.int64()),
        pa.array(documents, pa.binary()),
    ]
    return pa.table([column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def write_parquet(table: pa.Table, path: Path, *, durable: bool = False) -> str:
    """A Parquet file that appears by rename when it is whole, readable by its owner only; returns its sha256.

    `durable`: its content survives a power cut.
    """
    content = pa.BufferOutputStream()
    pq.write_table(table, content, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False)
    written = content.getvalue()
    with appearing(path) as unfinished:
        unfinished.write_bytes(written)
        if durable:
            _sync(unfinished)
    return hashlib.sha256(written).hexdigest()


def read_parquet(file: StoredFile, columns: list[str] | None = None) -> pa.Table:
    """Reads the file, once; raises ChunkDamaged where its content is no longer what was written."""
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise ChunkDamaged(file=str(file.path), why=error.strerror or str(error)) from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ChunkDamaged(file=str(file.path), why="its bytes have changed since it was written")
    return pq.read_table(pa.BufferReader(content), columns=columns)


def _sync(path: Path) -> None:
    """Makes sure that a file's content, or a directory's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def listed_ranges(directory: Path) -> list[RangeArchive]:
    """The key ranges of one root collection that are archived so far, in key order."""
    return [RangeArchive(directory, int(listing.stem)) for listing in sorted(directory.glob("*.jsonl"))]


def ranges(directory: Path) -> list[RangeArchive]:
    """The key ranges archived for one root collection, in key order; raises ArchiveDamaged unless they are those that were extracted."""
    found = listed_ranges(directory)
    kept = read_digest(directory)
    if kept != (_digest(found) if kept is not None or _extracted(found) else None):
        raise ArchiveDamaged(directory=str(directory), why="its lists of chunks have changed since it was extracted")
    return found


def write_digest(directory: Path) -> str:
    """Records that a root collection is completely extracted, with the digest of its lists of chunks, which it returns."""
    digest = _digest(listed_ranges(directory))
    write_whole(directory / DIGEST, json.dumps({"sha256": digest}))
    return digest


def begin_again(directory: Path) -> None:
    """Prepares another extraction of a root collection; raises ArchiveDamaged where what is already extracted has changed."""
    if read_digest(directory) is not None:
        ranges(directory)
    (directory / DIGEST).unlink(missing_ok=True)


def read_digest(directory: Path) -> str | None:
    """The digest of a root collection's lists of chunks; None where it has not been extracted completely."""
    try:
        return str(json.loads((directory / DIGEST).read_bytes())["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ArchiveDamaged(file=str(directory / DIGEST), why="it cannot be read") from error


def _extracted(found: list[RangeArchive]) -> list[RangeArchive]:
    return [part for part in found if part.number < FIRST_REWRITTEN]


def _digest(found: list[RangeArchive]) -> str:
    """The digest of the lists that extraction writes, and of the profiles of their documents."""
    digest = hashlib.sha256()
    for part in _extracted(found):
        for file in (part.listing, part.profile):
            content = file.read_bytes() if file.exists() else b""
            digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def read_chunk(file: StoredFile) -> Iterator[tuple[str, bytes]]:
    """Path and serialized Document of each document of a chunk, in key order; raises ChunkDamaged."""
    table = read_parquet(file, ["path", "document"])
    return zip(table["path"].to_pylist(), table["document"].to_pylist(), strict=True)


def read_chunk_keys(file: StoredFile) -> Iterator[tuple[str, int]]:
    """Path and update time (microseconds since 1970) of each document of a chunk, in key order; raises ChunkDamaged."""
    table = read_parquet(file, ["path", "update_time"])
    return zip(table["path"].to_pylist(), table["update_time"].cast(pa.int64()).to_pylist(), strict=True)


def read_paths(file: StoredFile) -> list[str]:
    """The path of each document of a chunk, in key order; raises ChunkDamaged."""
    paths: list[str] = read_parquet(file, ["path"])["path"].to_pylist()
    return paths
