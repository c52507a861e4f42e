"""Asks Firestore how many documents there are, which it may refuse although it gives the documents themselves."""

from __future__ import annotations

from dataclasses import dataclass

from firelift.errors import FireliftError
from firelift.firestore import errors
from firelift.firestore.channel import Firestore
from firelift.firestore.first import first_documents
from firelift.firestore.query import KeyRange, count

# Nowhere is it documented that a COUNT over all collections is answered, and a large one may take longer than Firestore allows.
REFUSALS = (errors.FirestoreError, errors.FirestoreDenied, errors.FirestoreUnreachable)


@dataclass(frozen=True)
class Counted:
    """How many documents Firestore counts; None where it does not, and `why_not`."""

    documents: int | None
    why_not: str = ""


def counted(firestore: Firestore, keys: KeyRange, read_time: str, most: int | None = None) -> Counted:
    """COUNT over a key range, with `most` over so many documents at most. Raises only what reading the documents would raise, too."""
    try:
        return Counted(count(firestore, keys, read_time, most))
    except REFUSALS as error:
        if not is_refusal(error):
            raise
        # Whoever may not read, or reaches nobody, hears of that here.
        list(first_documents(firestore, KeyRange(), read_time, 1))
        return Counted(None, reason(error))


def is_refusal(error: FireliftError) -> bool:
    """Whether Firestore was there and would not, or could not, count."""
    return isinstance(error, REFUSALS) and error.facts.get("status") != "UNAVAILABLE"


def reason(error: FireliftError) -> str:
    """In Firestore's words."""
    return ": ".join(str(said) for said in (error.facts.get("status") or "PERMISSION_DENIED", error.facts.get("message")) if said)
