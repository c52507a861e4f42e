"""The last stages of publishing: what the tables hold now is checked and recorded, so that it can be taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from psycopg import sql

from firelift.formatting import counted
from firelift.planning.increment import Increment
from firelift.planning.model import DELETED_AT, TablePlan
from firelift.planning.references import Relation, relations_of
from firelift.postgres.inspect.digest import Digest, digest
from firelift.postgres.inspect.relations import checked_again
from firelift.postgres.load.constraints import CheckedRelation, ForeignKeys, refuse_orphans
from firelift.postgres.publish.backups import BackedUp, Changes, keep
from firelift.postgres.publish.merge import refuse_other_counts
from firelift.postgres.publish.stages.new_tables import add_foreign_keys, reference
from firelift.postgres.publish.stages.stage import Done, Stage, listed
from firelift.postgres.publish.target_facts import Found, Publication, Refresh, Wanted
from firelift.postgres.schema.control_schema import record_progress, save_table, saved_plans
from firelift.postgres.session.connect import Connection

PUBLISHED = "published"


def checking(publication: Publication, found: Found) -> Iterator[Stage]:
    schema, plans, increment = publication.target_schema, saved_as(publication, found), publication.increment
    if publication.expected_rows:
        yield CheckCounts(schema, tuple(plans.values()), publication.expected_rows)
    if increment:
        all_plans = {plan.table: plan for plan in found.published} | plans
        there = frozenset(Wanted(key.source, key.columns, key.references, key.referenced) for key in found.keys)
        relations = touched_relations(all_plans, increment)
        yield CheckRelations(schema, relations, all_plans, frozenset(plans), publication.foreign_keys, there)


def recording(publication: Publication, found: Found) -> Iterator[Stage]:
    schema, increment = publication.target_schema, publication.increment
    plans = tuple(saved_as(publication, found).values())
    unscanned = frozenset(plan.table for plan in plans if not _scanned(increment, plan.table))
    if plans:
        yield RememberTables(publication.migration_id, schema, plans, publication.read_time, unscanned)
    yield EndPublication(publication.migration_id, publication.staging, publication.read_time)
    if not publication.is_scratch:
        yield ReloadApi(_looks_other(increment))


def saved_as(publication: Publication, found: Found) -> dict[str, TablePlan]:
    """The plans of all tables of the run as the target will remember them."""
    plans = {table.table: table for table in publication.tables}
    plans |= {refreshed.name: _saved(found, refreshed) for refreshed in found.refreshes}
    return plans | {plan.table: plan for plan, _ in found.unchanged}


def _saved(found: Found, refreshed: Refresh) -> TablePlan:
    """Also whether `firestore_deleted_at` is there and ours."""
    if refreshed.merge:
        return refreshed.merge.saved(refreshed.plan)
    before = found.saved(refreshed.plan.collection, refreshed.name)
    marks = before is not None and before.marks_deleted and DELETED_AT in refreshed.existing.columns
    return refreshed.plan.model_copy(update={"marks_deleted": marks})


def touched_relations(plans: Mapping[str, TablePlan], increment: Increment) -> tuple[Relation, ...]:
    """The relations between changed tables and any table of the schema."""
    touched = {table.table for table in increment.tables if table.touched}
    return tuple(relation for relation in relations_of(list(plans.values())) if {relation.table, relation.references} & touched)


def relations_now(connection: Connection, schema: str, increment: Increment) -> tuple[CheckedRelation, ...]:
    """The relations of a published increment, counted again."""
    plans = {plan.table: plan for plan in saved_plans(connection, schema).values()}
    return _checked(connection, schema, touched_relations(plans, increment), plans)


def _checked(
    connection: Connection, schema: str, relations: Sequence[Relation], plans: Mapping[str, TablePlan]
) -> tuple[CheckedRelation, ...]:
    return tuple(checked_again(connection, schema, relation, plans[relation.table].keys) for relation in relations)


def _scanned(increment: Increment | None, table: str) -> bool:
    found = increment.of(table) if increment else None
    return found is None or found.before is None or found.scanned


def _looks_other(increment: Increment | None) -> bool:
    """Whether the API's readers surely see other tables or columns than before."""
    return increment is None or any(table.before is None or table.steps for table in increment.tables)


@dataclass(frozen=True)
class CheckCounts:
    """Refuses tables that have other than the expected number of live rows."""

    schema: str
    plans: tuple[TablePlan, ...]
    expected: Mapping[str, int]

    def describe(self) -> Sequence[str]:
        return [f"stop unless {self.schema}.{table} has {counted(rows, 'row')}" for table, rows in self.expected.items()]

    def run(self, connection: Connection, done: Done) -> None:
        refuse_other_counts(connection, self.schema, self.plans, self.expected)


@dataclass(frozen=True)
class CheckRelations:
    """Counts the relations of the changed tables again, and makes the foreign keys that every row allows."""

    schema: str
    relations: tuple[Relation, ...]
    plans: Mapping[str, TablePlan]
    of_run: frozenset[str]
    """A table that is not the run's has nothing by which its rollback would know of the foreign key."""
    foreign_keys: ForeignKeys
    there: frozenset[Wanted] = field(default=frozenset())
    """Foreign keys of the tables now."""

    def describe(self) -> Sequence[str]:
        possible = [relation for relation in self.relations if self._may_have(relation)]
        missing = [relation for relation in possible if Wanted(*relation.ends) not in self.there]
        return [f"add the foreign key {reference(self.schema, Wanted(*relation.ends))}, {self._unless(relation)}" for relation in missing]

    def _unless(self, relation: Relation) -> str:
        refused = self.foreign_keys == "strict" and relation.kind == "link"
        return "or stop if a row is orphaned" if refused else "if no row is orphaned"

    def _may_have(self, relation: Relation) -> bool:
        return relation.table in self.of_run and self.foreign_keys != "off"

    def run(self, connection: Connection, done: Done) -> None:
        checked = _checked(connection, self.schema, self.relations, self.plans)
        refuse_orphans(checked, self.foreign_keys)
        unkeyed = [relation for relation in checked if not (relation.created or relation.orphans)]
        possible = [relation for relation in unkeyed if self._may_have(relation)]
        add_foreign_keys(connection, self.schema, [Wanted(*relation.ends) for relation in possible], done)
        made = [relation.model_copy(update={"created": relation.created or relation in possible}) for relation in checked]
        done.relations = tuple(made)


@dataclass(frozen=True)
class RememberTables:
    """Records what each table holds now and how that is undone, and remembers its plan, with the read time as watermark."""

    migration_id: str
    schema: str
    plans: tuple[TablePlan, ...]
    read_time: datetime
    unscanned: frozenset[str]
    """Tables of which not all keys were compared."""

    def describe(self) -> Sequence[str]:
        return [f"record digest, plan and read time of {listed([f'{self.schema}.{plan.table}' for plan in self.plans])}"]

    def run(self, connection: Connection, done: Done) -> None:
        for plan in self.plans:
            backed_up, changed = done.kept.get(plan.table), done.changes.get(plan.table, Changes())
            if backed_up:
                changed = changed.model_copy(update={"inserted": backed_up.inserted})
            after = self._content(connection, backed_up, changed) if backed_up else done.contents[plan.table]
            keep(connection, self.migration_id, self.schema, plan, backed_up, changed, after)
            scanned = plan.table not in self.unscanned
            save_table(connection, self.migration_id, self.schema, plan, self.read_time, scanned=scanned)

    def _content(self, connection: Connection, backed_up: BackedUp, changed: Changes) -> Digest:
        if backed_up.schema_name is None:
            return backed_up.before
        columns = (*backed_up.columns, *changed.columns_added)
        return digest(connection, self.schema, backed_up.table, columns, backed_up.changed_rows)


@dataclass(frozen=True)
class EndPublication:
    migration_id: str
    staging: str
    read_time: datetime

    def describe(self) -> Sequence[str]:
        return ["drop the staging schema and record the run as published"]

    def run(self, connection: Connection, done: Done) -> None:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(self.staging)))
        record_progress(connection, self.migration_id, status=PUBLISHED, read_time=self.read_time)


@dataclass(frozen=True)
class ReloadApi:
    """PostgREST, if it listens, reads its schema again when the transaction commits."""

    surely: bool
    """Else only if columns or foreign keys have come or gone."""

    def describe(self) -> Sequence[str]:
        return [f"let the API read its schema again{'' if self.surely else ', if a column or a foreign key has come or gone'}"]

    def run(self, connection: Connection, done: Done) -> None:
        altered = any(
            changed.columns_added or changed.foreign_keys_added or changed.foreign_keys_dropped for changed in done.changes.values()
        )
        if self.surely or altered:
            connection.execute("NOTIFY pgrst, 'reload schema'")
