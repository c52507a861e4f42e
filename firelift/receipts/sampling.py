"""What a test run has put into the archive: a sample of every collection."""

from __future__ import annotations

from firelift.receipts.extraction import Extracted
from firelift.receipts.receipt import Receipt
from firelift.receipts.roots import Validated


class CollectionSampled(Receipt):
    """What was drawn of a collection, and what it has."""

    collection: str
    drawn: int
    needed: int
    """Documents beyond those drawn: the parents of others, and what others refer to."""
    left_out: int
    """Needed as well, but more than a sample may have."""
    absent: int
    """Looked for because others name them; Firestore has none."""
    documents: int | None
    """In the whole database; None where nobody knows."""
    exact: bool
    """`documents` was counted, not reckoned from what was seen."""
    bytes: int
    """Of the sampled documents, as Firestore sent them."""


class Sampled(Receipt):
    """A sample in the archive, as if the database held nothing else."""

    seed: str
    """Draws the same sample again from the same snapshot."""
    size: int
    """Documents a collection that were to be drawn."""
    reads: int
    counted: int
    """Documents that COUNT went over, beyond the first count of every root collection."""
    parts: tuple[Extracted, ...]
    collections: tuple[CollectionSampled, ...]

    def of(self, validated: Validated) -> Validated:
        """The snapshot as the phases behind see it: each root collection with the documents of the sample."""
        archived = {part.collection: part.documents for part in self.parts}
        roots = tuple(root.model_copy(update={"documents": archived.get(root.collection, 0)}) for root in validated.roots)
        return validated.model_copy(update={"roots": roots, "documents": sum(archived.values())})
