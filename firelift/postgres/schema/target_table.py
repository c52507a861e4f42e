"""A plan's table in a schema of the target: what it is called there and which columns it has."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from firelift.planning.model import TablePlan


@dataclass(frozen=True)
class TargetTable:
    """The table of a plan in one schema: the target's, or the staging schema of a run."""

    schema: str
    plan: TablePlan

    @property
    def name(self) -> str:
        """Without the schema."""
        return self.plan.table

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.plan.table)

    @property
    def keys(self) -> tuple[str, ...]:
        return self.plan.keys

    @property
    def columns(self) -> tuple[str, ...]:
        """The planned columns, keys first."""
        return tuple(name for name, _ in self.plan.target_columns())

    @property
    def parameters(self) -> dict[str, str]:
        """For the queries in `postgres/sql/` that ask about one table."""
        return {"schema": self.schema, "table": self.plan.table}
