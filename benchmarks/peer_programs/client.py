"""What one writes first: the official client, collection by collection, each document as JSON into a table, by COPY."""

import json
import sys

import psycopg
from google.cloud import firestore

project, url, *collections = sys.argv[1:]
database = firestore.Client(project=project)
with psycopg.connect(url) as connection:
    connection.execute("CREATE SCHEMA by_client")
    for name in collections:
        connection.execute(f'CREATE TABLE by_client."{name}" (id text PRIMARY KEY, data jsonb)')
        with connection.cursor().copy(f'COPY by_client."{name}" (id, data) FROM STDIN') as copy:
            for document in database.collection(name).stream():
                copy.write_row((document.id, json.dumps(document.to_dict(), default=str)))
