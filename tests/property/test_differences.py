"""Two documents differ somewhere exactly when they are not the same to the last bit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firelift.firestore.values import Document, same_document
from firelift.verification.differing_fields import differing_fields
from firelift.verification.rendering import LONGEST
from tests.support.strategies import documents


@given(documents(st.just("d")), documents(st.just("d")))
def test_documents_differ_somewhere_unless_they_are_the_same(one: Document, other: Document) -> None:
    found = list(differing_fields(one, other))
    assert bool(found) is not same_document(one, other)
    assert all(differs.expected != differs.found for differs in found)
    assert all(len(differs.expected) <= LONGEST and len(differs.found) <= LONGEST for differs in found)
    assert list(differing_fields(one, one)) == []
