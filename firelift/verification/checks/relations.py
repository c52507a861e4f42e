"""Parents and references of every table: how many rows lead nowhere, compared with when they were loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firelift.planning.model import Plan, TablePlan
from firelift.postgres.inspect.relations import PublishedRelation, check_relations
from firelift.postgres.session.connect import Session
from firelift.receipts import RelationChecked
from firelift.verification.check import Check, Evidence, Expectation, Found, Inputs, Row, columns_equal, no_rows
from firelift.verification.proof import Proof, RelationProved


def prove_relations(session: Session, schema: str, plan: Plan, recorded: Sequence[RelationChecked] | None) -> tuple[RelationProved, ...]:
    """Counts the orphans of every planned relation again; `recorded` is what import found, None where that is not known."""
    expected = {(relation.table, relation.columns, relation.references): relation for relation in recorded or ()}
    with session.open_to_read() as connection:
        return tuple(
            _proved(relation, expected.get((relation.table, relation.columns, relation.references)))
            for relation in check_relations(connection, schema, plan.tables)
        )


def _proved(relation: PublishedRelation, recorded: RelationChecked | None) -> RelationProved:
    return RelationProved(
        table=relation.table,
        columns=relation.columns,
        references=relation.references,
        expected=None if recorded is None else recorded.orphans,
        orphans=relation.orphans,
        examples=tuple(f"{'/'.join(orphan.key)} → {'/'.join(orphan.refers_to)}" for orphan in relation.examples),
        foreign_key=relation.foreign_key,
        expected_foreign_key=None if recorded is None else recorded.foreign_key,
        query=relation.query,
    )


def find(inputs: Inputs) -> Found:
    tables = inputs.tables
    return Found(prove_relations(tables.session, tables.schema, tables.plan, inputs.verification.known.relations))


def of_table(table: TablePlan, proof: Proof) -> Sequence[Expectation]:
    """No row is orphaned where none was when the rows were loaded."""
    return [
        no_rows(relation.query, f"Every row's {columns} leads to a row of {relation.references}.", columns)
        for relation in proof.relations
        if relation.table == table.table and relation.expected == 0
        for columns in [", ".join(relation.columns)]
    ]


def frame(evidence: Evidence) -> Iterator[Row]:
    for relation in evidence.proof.relations:
        if relation.expected is not None:
            yield {
                "table": relation.table,
                "column": ", ".join(relation.columns),
                "references": relation.references,
                "expected": relation.expected,
                "orphans": relation.orphans,
                "recompute": relation.query,
            }


CHECK = Check(
    "relations",
    "All tables: relations",
    "standard",
    frame,
    find=find,
    of_table=of_table,
    # Most of what an increment's rows refer to is not among them.
    of_increments=False,
    expectations=(columns_equal("expected", "orphans", "As many rows lead nowhere as did when they were loaded: Firestore allows that."),),
)
