"""Root collections, and the snapshot in which pre-validation found them."""

from __future__ import annotations

from firelift.receipts.receipt import Receipt


class RootGroup(Receipt):
    """A root collection, or several side by side that are worked on together because each has few documents."""

    collection: str
    """The first of them, for which what belongs to all is named."""
    beside: tuple[str, ...] = ()

    @property
    def collections(self) -> tuple[str, ...]:
        return (self.collection, *self.beside)

    @property
    def label(self) -> str:
        """What people are told that is worked on."""
        if len(self.beside) < 2:
            return " and ".join(self.collections)
        return f"{self.collection} … {self.beside[-1]} ({len(self.collections)} collections)"


class RootCollection(RootGroup):
    """The key range that holds root collections and all beneath them, and its COUNT at the read time."""

    start: str | None
    end: str | None
    documents: int | None
    """None where Firestore does not count them."""
    each: tuple[int, ...] = ()
    """The documents of each collection, where each was counted by itself."""

    def expected(self) -> dict[str, int]:
        """By root collection the documents that Firestore counts; empty where it counts none of them, or only all together."""
        if not self.beside:
            return {} if self.documents is None else {self.collection: self.documents}
        return dict(zip(self.collections, self.each, strict=True)) if self.each else {}


class Validated(Receipt):
    """Everything needed is there: the snapshot that will be read and what is in it."""

    connectionsValid: bool = True  # noqa: N815 - a name that readers of the checkpoint look for
    read_time: str
    roots: tuple[RootCollection, ...]
    documents: int | None
    """None where Firestore does not count those of every root collection."""
    postgres_version: str | None = None
    warnings: tuple[str, ...] = ()
