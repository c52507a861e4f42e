"""dlt with the official client as its source. What dlt does not type (places, references) is given to it as text."""

import sys
from collections.abc import Iterator
from typing import Any

import dlt  # type: ignore[import-not-found]  # it is installed by benchmarks/peers.py, in an environment of its own
from google.cloud import firestore

project, url, *collections = sys.argv[1:]
database = firestore.Client(project=project)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, firestore.GeoPoint):
        return f"{value.latitude},{value.longitude}"
    return value.path if isinstance(value, firestore.DocumentReference) else value


def documents(name: str) -> Iterator[dict[str, Any]]:
    for document in database.collection(name).stream():
        yield {"id": document.id, **plain(document.to_dict())}


pipeline = dlt.pipeline("peers", destination=dlt.destinations.postgres(url), dataset_name="by_dlt")
pipeline.run([dlt.resource(documents(name), name=name, write_disposition="replace") for name in collections])
