"""Parents and references of every table: what leads nowhere now, beside what did when the rows were loaded."""

from __future__ import annotations

from collections.abc import Sequence

from firelift.planning.model import Plan
from firelift.postgres.inspect.reading import reading
from firelift.postgres.inspect.relations import PublishedRelation, check_relations
from firelift.receipts import RelationChecked
from firelift.verification.proof import RelationProved


def prove_relations(
    url: str, session: str, schema: str, plan: Plan, recorded: Sequence[RelationChecked] | None
) -> tuple[RelationProved, ...]:
    """Every relation of the plan counted anew; `recorded` is what import found, None where that is not known."""
    expected = {(relation.table, relation.columns, relation.references): relation for relation in recorded or ()}
    with reading(url, session) as connection:
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
