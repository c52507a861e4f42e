"""What the extraction of root collections is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firelift.firestore.channel import Source
from firelift.paths import Selection
from firelift.receipts import RootCollection
from firelift.storage.archive import file_name


@dataclass(frozen=True)
class ExtractionInputs:
    """Which documents are read, and how they are archived. Small and picklable, for workers."""

    source: Source
    root: RootCollection
    archive: Path
    """That of the run; every root collection has a directory there."""
    read_time: str
    selection: Selection
    batch_size: int
    """Documents of a chunk."""
    range_documents: int
    """Documents above which a root collection is read in several key ranges."""
    catch_up: bool = False
    """Where Firestore no longer keeps the snapshot, what is left is read as of a later moment."""

    @property
    def directory(self) -> Path:
        """The archive of the root collection."""
        return self.archive / file_name(self.root.collection)
