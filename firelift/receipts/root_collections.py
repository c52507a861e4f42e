"""Root collections, and the snapshot in which pre-validation found them."""

from __future__ import annotations

from firelift.receipts.receipt import Receipt


class RootGroup(Receipt):
    """A root collection, or several neighbouring ones that are processed together because they have few documents."""

    collection: str
    """The first of them. What belongs to all of them is named after it."""
    beside: tuple[str, ...] = ()

    @property
    def collections(self) -> tuple[str, ...]:
        return (self.collection, *self.beside)

    @property
    def label(self) -> str:
        """The name of the group in messages."""
        if len(self.beside) < 2:
            return " and ".join(self.collections)
        return f"{self.collection} … {self.beside[-1]} ({len(self.collections)} collections)"


class RootCollection(RootGroup):
    """Root collections as pre-validation hands them on: their key range, with everything beneath them, and its COUNT at the read time."""

    start: str | None
    end: str | None
    documents: int | None
    """None where Firestore does not count them."""
    each: tuple[int, ...] = ()
    """The documents of each collection, where they were counted one by one."""

    def expected(self) -> dict[str, int]:
        """The documents that Firestore counts, by root collection; empty where it does not count them, or only all together."""
        if not self.beside:
            return {} if self.documents is None else {self.collection: self.documents}
        return dict(zip(self.collections, self.each, strict=True)) if self.each else {}


class Validated(Receipt):
    """The result of pre-validation: the snapshot that will be read, and what it contains."""

    connectionsValid: bool = True  # noqa: N815 - a name that readers of the checkpoint look for
    read_time: str
    roots: tuple[RootCollection, ...]
    documents: int | None
    """None where Firestore does not count the documents of every root collection."""
    postgres_version: str | None = None
    warnings: tuple[str, ...] = ()
