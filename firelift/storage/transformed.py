"""The results of transforming an archived chunk: its receipt, and the list of its documents that have no row."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from firelift.files import FileChanged, read_sealed
from firelift.receipts import ChunkTransformed


def receipt_path(run: Path, chunk: str) -> Path:
    return run / "transformed" / f"{chunk}.json"


def rejects_path(run: Path, chunk: str) -> Path:
    return run / "rejects" / f"{chunk.replace('/', '-')}.jsonl"


def read_receipt(run: Path, chunk: str) -> ChunkTransformed:
    """Reads the receipt of a chunk; raises FileChanged, and FileNotFoundError for a chunk that has not been transformed."""
    return ChunkTransformed.model_validate_json(read_sealed(receipt_path(run, chunk)))


def read_receipts(run: Path) -> list[ChunkTransformed]:
    """Those of all transformed chunks, by name; raises FileChanged."""
    chunks = sorted(file.relative_to(run / "transformed").with_suffix("").as_posix() for file in (run / "transformed").rglob("*.json"))
    return [read_receipt(run, chunk) for chunk in chunks]


def read_rejects(run: Path, receipt: ChunkTransformed) -> frozenset[str]:
    """The paths of a chunk's rejected documents; raises FileChanged unless the file has the digest in its receipt."""
    if receipt.rejects is None:
        return frozenset()
    file = rejects_path(run, receipt.chunk)
    content = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(content).hexdigest() != receipt.rejects:
        raise FileChanged(file=str(file), why="it does not have the digest in the receipt of its chunk")
    return frozenset(json.loads(line)["path"] for line in content.splitlines())
