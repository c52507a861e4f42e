"""The engine's whole way without Prefect, and what came of every document: its row, or its place among the rejects."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from psycopg import sql

import expectations
from firelift.firestore.channel import Source
from firelift.firestore.lazy_protobuf import types
from firelift.firestore.values import Document, same_document
from firelift.local.emulator import clear
from firelift.local.postgres import PostgresServer
from firelift.local.writer import values, write_documents
from firelift.migration.context import Migration, Run
from firelift.migration.execution import InlineSteps
from firelift.migration.lifecycle import open_migration
from firelift.migration.migrate import migrate as carry_out
from firelift.migration.surroundings import Surroundings
from firelift.paths import Selection, collection_of
from firelift.planning.build import PlanOptions
from firelift.planning.model import Plan, TablePlan
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session, connect
from firelift.receipts import Imported, TableCounts, Validated, Verified
from firelift.run.workspace import new_migration_id
from firelift.settings.settings import Settings
from firelift.transform import compile_decoder
from firelift.verification.proof import Proof

Things = Mapping[str, Mapping[str, object]]
"""Documents by path, their fields as Python objects or Values."""

_RunQueryRequest: Any = types.RunQueryRequest.pb()
_RunQueryResponse: Any = types.RunQueryResponse.pb()


@dataclass(frozen=True)
class Arrival:
    """A migration that was run to its end, and both sides of it."""

    source: Source
    url: str
    run: Path
    plan: Plan
    validated: Validated
    counts: dict[str, TableCounts]
    imported: Imported
    proof: Proof
    verified: Verified

    @cached_property
    def documents(self) -> dict[str, Document]:
        """Firestore's own answer at the read time, read without any code of the engine."""
        return {below(document.name): document for document in everything(self.source, self.validated.read_time)}

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Each row's columns by name, by the path of the document that the row decodes to."""
        return {path: row for path, row, _ in self._read}

    @cached_property
    def decoded(self) -> dict[str, Document]:
        return {path: document for path, _, document in self._read}

    @cached_property
    def _read(self) -> list[tuple[str, dict[str, Any], Document]]:
        with closing(self.connect()) as connection:
            return [found for table in self.plan.tables for found in self._read_table(connection, table)]

    def _read_table(self, connection: Connection, table: TablePlan) -> Iterator[tuple[str, dict[str, Any], Document]]:
        decode = compile_decoder(table, self.plan.database)
        columns = [name for name, _ in table.target_columns()]
        for row in read_rows(connection, TargetTable("public", table)):
            document = decode(row)
            yield below(document.name), dict(zip(columns, row, strict=True)), document

    @cached_property
    def rejects(self) -> dict[str, dict[str, Any]]:
        lines = [line for file in sorted((self.run / "rejects").glob("*.jsonl")) for line in file.read_text().splitlines()]
        return {reject["path"]: reject for reject in map(json.loads, lines)}

    def connect(self) -> Connection:
        return connect(self.url, "firelift-test")

    def row(self, path: str) -> dict[str, Any]:
        """The columns of a document whose row says exactly what Firestore says."""
        assert same_document(self.decoded[path], self.documents[path]), f"{self.decoded[path]} is not {self.documents[path]}"
        return self.rows[path]

    def value(self, path: str, column: str) -> Any:
        return self.row(path)[column]

    def json(self, path: str, column: str) -> Any:
        return json.loads(self.value(path, column))

    def residue(self, path: str) -> Any:
        """None for an ordinary document, else what its columns do not say, by place."""
        told = self.row(path)["firestore_residue"]
        return None if told is None else {_place(entry["at"]): entry["is"] for entry in json.loads(told)["values"]}

    def table(self, collection: str) -> TablePlan:
        return self.plan.table_of(collection)

    def ask(self, query: str, *given: object) -> list[Any]:
        with closing(self.connect()) as connection:
            return connection.execute(query.encode(), given or None).fetchall()

    def check(self) -> None:
        """Every document of Firestore is a row that says the same to the bit, or is kept whole among the rejects, and is counted."""
        assert self.proof.differences == ()
        assert [(table.differing, table.rejected + table.rows, table.whole) for table in self.proof.tables] == [
            (0, table.documents, True) for table in self.proof.tables
        ]
        assert [reread for reread in self.proof.rereads if reread.differing or reread.unavailable] == []
        assert [relation for relation in self.proof.relations if relation.orphans != relation.expected] == []
        assert [column for column in self.proof.columns if column.present != column.expected_present] == []
        assert [place for place in self.proof.nested if place.unreadable] == []
        assert self.verified.passed, self.verified.failed
        assert {*self.decoded, *self.rejects} == set(self.documents)
        assert not {*self.decoded} & {*self.rejects}
        assert [path for path in self.decoded if not same_document(self.decoded[path], self.documents[path])] == []
        for path, reject in self.rejects.items():
            assert reject["reason"]
            assert same_document(Document.FromString(base64.b64decode(reject["document"])), self.documents[path])
        self._check_counts()

    def _check_counts(self) -> None:
        collections = {collection_of(path) for path in self.documents}
        counted = {collection: (counts.rows, counts.rejected) for collection, counts in self.counts.items()}
        assert counted == {
            collection: (
                sum(collection_of(path) == collection for path in self.decoded),
                sum(collection_of(path) == collection for path in self.rejects),
            )
            for collection in collections
        }
        assert self.validated.documents == len(self.documents) == len(self.decoded) + len(self.rejects)
        assert self.imported.importedRecords == len(self.decoded)


def migrate(
    source: Source,
    url: str,
    directory: Path,
    *,
    plan_options: PlanOptions | None = None,
    selection: Selection | None = None,
    together: int | None = None,
    meanwhile: Callable[[], object] = lambda: None,
    **options: Any,
) -> Arrival:
    """A full migration without Prefect. `meanwhile` is called once the snapshot is chosen and nothing is read yet."""
    plan_options, selection = plan_options or PlanOptions(), selection or Selection()
    mapping = directory.with_name(f"{directory.name}-mapping.json")
    mapping.write_text(plan_options.mapping.model_dump_json())
    settings = Settings.load(
        project_id=source.project,
        firestore_database=source.database,
        firestore_emulator_host=source.emulator_host,
        database_url=url,
        working_dir=str(directory),
        migration_id=new_migration_id(),
        collections=list(selection.include),
        exclude_collections=list(selection.exclude),
        naming=plan_options.naming,
        mapping=str(mapping),
        verification_level="comprehensive",
        **{"max_workers": 1, "range_documents": 25_000, "max_rejects": 1000, **options},
    )
    suites = SuitesSeen()
    run = Run(migration_id=str(settings.migration_id), settings=settings.public())
    with open_migration(run, Surroundings(suites), settings) as migration, _reading_together(together):
        steps = StepsSeen(migration, meanwhile)
        carry_out(migration, steps)
        plan = migration.plan()
    done = steps.returned
    return Arrival(
        source,
        url,
        migration.directory,
        plan,
        done["pre_validation"],
        done["transformation"].tables,
        done["import_"],
        suites.proof,
        done["verification"],
    )


class StepsSeen(InlineSteps):
    """Keeps what each step returned."""

    def __init__(self, migration: Migration, meanwhile: Callable[[], object]) -> None:
        super().__init__(migration)
        self.returned: dict[str, Any] = {}
        self._meanwhile = meanwhile

    def once(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        done = self.returned[step.__name__] = super().once(step, *arguments, **options)
        if step.__name__ == "pre_validation":
            self._meanwhile()
        return done


class SuitesSeen:
    """The suites, which keep the proof that they validated."""

    proof: Proof
    preload = staticmethod(expectations.preload)

    def validate(self, session: Session, plan: Plan, proof: Proof, *rest: Any) -> Verified:
        self.proof = proof
        return expectations.validate(session, plan, proof, *rest)


@contextmanager
def _reading_together(documents: int | None) -> Iterator[None]:
    """Root collections of at most so many documents are read as one; None: as the settings say."""
    if documents is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("firelift.migration.steps.pre_validation.together", lambda settings: documents)
        yield


def write(source: Source, documents: Things) -> None:
    """Writes documents into the emulator, each value as `firelift.local.writer.value` makes it."""
    assert source.emulator_host
    write_documents(source.emulator_host, source.name, ((path, values(fields)) for path, fields in documents.items()))


@contextmanager
def arrived(host: str, server: PostgresServer, directory: Path, documents: Things, **how: Any) -> Iterator[Arrival]:
    """These documents in an emulator project of their own, migrated into a Postgres database of its own."""
    with new_source(host) as source, new_database(server) as url:
        write(source, documents)
        yield migrate(source, url, directory, **how)


@contextmanager
def new_source(host: str) -> Iterator[Source]:
    """An empty Firestore database, for longer than one test; it is emptied afterwards."""
    source = Source(f"test-{uuid.uuid4().hex[:12]}", emulator_host=host)
    yield source
    clear(host, source.project)


@contextmanager
def new_database(server: PostgresServer) -> Iterator[str]:
    """The URL of an empty Postgres database, for longer than one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY FILE_COPY").format(sql.Identifier(name)))
    yield server.url(name)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def everything(source: Source, read_time: str) -> Iterator[Document]:
    """Every document at any depth, as the server sends it."""
    moment = Timestamp()
    moment.FromJsonString(read_time)
    query = {"from_": [{"all_descendants": True}], "order_by": [{"field": {"field_path": "__name__"}, "direction": "ASCENDING"}]}
    request = _RunQueryRequest(parent=source.root, structured_query=query, read_time=moment)
    with grpc.insecure_channel(source.emulator_host, options=[("grpc.max_receive_message_length", -1)]) as channel:
        ask = channel.unary_stream(
            "/google.firestore.v1.Firestore/RunQuery",
            request_serializer=_RunQueryRequest.SerializeToString,
            response_deserializer=_RunQueryResponse.FromString,
        )
        for response in ask(request, metadata=[("authorization", "Bearer owner")]):
            if response.HasField("document"):
                yield response.document


def below(name: str) -> str:
    return name.split("/documents/", 1)[1]


def _place(at: list[Any]) -> Any:
    return at[0] if len(at) == 1 and isinstance(at[0], str) else json.dumps(at)
