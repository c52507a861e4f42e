"""Asks Firestore for the number of documents, which it may refuse although it returns the documents themselves."""

from __future__ import annotations

from dataclasses import dataclass

from firelift.errors import FireliftError
from firelift.firestore import errors
from firelift.firestore.channel import Firestore
from firelift.firestore.query import KeyRange, count
from firelift.firestore.read_first import first_documents

# No documentation promises an answer to a COUNT over all collections, and a large one may take longer than Firestore allows.
REFUSALS = (errors.FirestoreError, errors.FirestoreDenied, errors.FirestoreUnreachable)


@dataclass(frozen=True)
class Counted:
    """How many documents Firestore counts; None where it does not count them, with the reason in `why_not`."""

    documents: int | None
    why_not: str = ""


def counted(firestore: Firestore, keys: KeyRange, read_time: str, most: int | None = None) -> Counted:
    """COUNT over a key range, up to `most` documents if given. Raises only what reading the documents would raise as well."""
    try:
        return Counted(count(firestore, keys, read_time, most))
    except REFUSALS as error:
        if not is_refusal(error):
            raise
        # This raises where the account may not read, or where nothing answers.
        list(first_documents(firestore, KeyRange(), read_time, 1))
        return Counted(None, reason(error))


def is_refusal(error: FireliftError) -> bool:
    """Whether Firestore answered but would not, or could not, count."""
    return isinstance(error, REFUSALS) and error.facts.get("status") != "UNAVAILABLE"


def reason(error: FireliftError) -> str:
    """The reason in Firestore's words."""
    return ": ".join(str(part) for part in (error.facts.get("status") or "PERMISSION_DENIED", error.facts.get("message")) if part)
