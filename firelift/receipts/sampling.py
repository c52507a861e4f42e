"""What a test run has put into the archive: a sample of every collection."""

from __future__ import annotations

from firelift.receipts.extraction import Extracted
from firelift.receipts.receipt import Receipt
from firelift.receipts.root_collections import Validated


class CollectionSampled(Receipt):
    """What was drawn from a collection, and how many documents it has."""

    collection: str
    drawn: int
    needed: int
    """Documents beyond those drawn: the parents of others, and what others refer to."""
    left_out: int
    """Needed as well, but beyond the limit of a sample."""
    absent: int
    """Looked up because others refer to them, but not there."""
    documents: int | None
    """In the whole database; None where the number is unknown."""
    exact: bool
    """`documents` was counted, not estimated."""
    bytes: int
    """The size of the sampled documents, as Firestore sent them."""


class Sampled(Receipt):
    """A sample in the archive, as if the database had no other documents."""

    seed: str
    """Draws the same sample again from the same snapshot."""
    size: int
    """How many documents were to be drawn from each collection."""
    reads: int
    counted: int
    """Documents that Firestore counted, beyond the first COUNT of every root collection."""
    parts: tuple[Extracted, ...]
    collections: tuple[CollectionSampled, ...]

    def of(self, validated: Validated) -> Validated:
        """The snapshot as later phases see it: each root collection with the documents of the sample."""
        archived = {part.collection: part.documents for part in self.parts}
        roots = tuple(root.model_copy(update={"documents": archived.get(root.collection, 0)}) for root in validated.roots)
        return validated.model_copy(update={"roots": roots, "documents": sum(archived.values())})
