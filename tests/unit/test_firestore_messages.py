"""Firestore's messages come without its clients, and leave the library whole for whoever wants them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


def test_the_clients_are_not_imported() -> None:
    clients = ("google.cloud.firestore_v1", "google.api_core")
    asked = f"import sys, firelift.modes.incremental.compare; print(*[name for name in {clients} if name in sys.modules])"
    assert said(asked) == []


def test_whoever_imports_the_library_afterwards_gets_all_of_it_with_the_same_messages() -> None:
    asked = """
from firelift.firestore.lazy_protobuf import types
from google.cloud import firestore
from google.cloud.firestore_v1 import types as whole
from google.cloud.firestore_v1.types import document
print(firestore.Client.__name__, whole is types, types.Document is document.Document)
"""
    assert said(asked) == ["Client", "True", "True"]


def test_whoever_imported_it_before_has_the_same_messages() -> None:
    asked = (
        "from google.cloud.firestore_v1 import types as whole\nfrom firelift.firestore.lazy_protobuf import types\nprint(whole is types)"
    )
    assert said(asked) == ["True"]
