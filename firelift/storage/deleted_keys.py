"""The keys of rows whose documents were deleted in Firestore, as Parquet files in a run's directory."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from firelift.storage.archive import StoredFile, file_name, write_parquet


def deleted_keys_directory(run: Path, collection: str) -> Path:
    """Has Parquet files with the keys of rows whose documents were deleted. Their columns are named as the table's keys."""
    return run / "gone" / file_name(collection)


def write_deleted_keys(run: Path, collection: str, name: str, keys: pa.Table) -> None:
    """Writes keys of deleted documents. The file's name ends with the digest of its content."""
    file = deleted_keys_directory(run, collection) / f"{name}.parquet"
    sha256 = write_parquet(keys, file, durable=True)
    file.rename(file.with_name(f"{name}-{sha256}.parquet"))


def deleted_key_files(run: Path, collection: str) -> list[StoredFile]:
    """The files with the keys of deleted documents, for reading."""
    return [StoredFile(file, file.stem.rpartition("-")[2]) for file in sorted(deleted_keys_directory(run, collection).glob("*.parquet"))]
