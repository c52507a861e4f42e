"""Firelift from Python: plan and migrate in this process, without Prefect, and look at what a run left behind.

    import firelift

    settings = firelift.Settings(project_id="my-app", database_url="postgresql://…")
    print(firelift.plan(settings).plan.tables)
    run = firelift.migrate(settings)
    run.report["status"], run.frame("users")

The same names are found in `firelift` itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firelift.errors import ConfigurationError
from firelift.migration.context import Run
from firelift.migration.execution import InlineSteps
from firelift.migration.identity import resolve_run
from firelift.migration.lifecycle import open_migration
from firelift.migration.surroundings import Surroundings
from firelift.modes.incremental.catch_up import catching_up
from firelift.planning.model import Plan, TablePlan, read_plan
from firelift.run.workspace import REPORT, NoSuchRun, Workspace, new_migration_id
from firelift.settings.settings import Settings
from firelift.storage.archive import StoredFile, read_parquet
from firelift.storage.transformed import read_receipts
from firelift.workflow_path import put_workflow_first

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MigrationRun", "NoSuchTable", "RowsNotKept", "Settings", "migrate", "open_run", "plan"]


class NoSuchTable(ConfigurationError):
    """The plan of the run has no such table."""

    remedy = "`run.plan.tables` lists the tables; give the name of a table or the path of its collection."


class RowsNotKept(ConfigurationError):
    """The run no longer has the rows of its tables in its directory."""

    remedy = "Run with keep_tables=True (the default), or read the published table from the target."


@dataclass(frozen=True)
class MigrationRun:
    """A run in its directory: what it planned, what it reports, and the rows it made."""

    directory: Path

    @property
    def plan(self) -> Plan:
        """Tables, columns and types. Raises FileNotFoundError for a run that has planned nothing yet."""
        return read_plan(self.directory)

    @property
    def report(self) -> dict[str, Any]:
        """The final report, as docs/final-migration-report.schema.json describes it."""
        return self._workspace.read_json(REPORT) or {}

    def frame(self, name: str) -> pd.DataFrame:
        """The rows of a table, named as in the target or by its collection path, with the columns in the target's order.

        bigint is Int64, double precision double[pyarrow] (a NULL is missing, a NaN is not), boolean boolean, text and jsonb (as JSON)
        string, timestamptz datetime64[us, UTC]; bytea and arrays are objects. Of an increment these are the rows that it changed, of a test
        run those of the sample. Raises NoSuchTable, RowsNotKept, and FileChanged for a file that is no longer as it was written.
        """
        import pyarrow as pa

        from firelift.planning.arrow_schema import arrow_schema

        table = self._table(name)
        parts = [read_parquet(file) for file in self._files(table)]
        whole = pa.concat_tables(parts) if parts else arrow_schema(table).empty_table()
        frame: pd.DataFrame = whole.select(list(arrow_schema(table).names)).to_pandas(types_mapper=_dtype)
        return frame

    @property
    def _workspace(self) -> Workspace:
        return Workspace(self.directory.parents[1], self.directory.name)

    def _table(self, name: str) -> TablePlan:
        for table in self.plan.tables:
            if name in (table.table, table.collection):
                return table
        raise NoSuchTable(table=name, run=str(self.directory))

    def _files(self, table: TablePlan) -> list[StoredFile]:
        from firelift.phases.transformation import table_path

        receipts = read_receipts(self.directory)
        found = [
            StoredFile(table_path(self.directory, table, receipt.chunk), receipt.files[table.collection])
            for receipt in receipts
            if table.collection in receipt.files
        ]
        if missing := [file.path for file in found if not file.path.exists()]:
            raise RowsNotKept(table=table.table, missing=str(missing[0]))
        return found


def plan(settings: Settings) -> MigrationRun:
    """Reads Firestore and plans the tables; writes nothing to the target. Raises FireliftError."""
    return migrate(settings.model_copy(update={"dry_run": True}))


def migrate(settings: Settings) -> MigrationRun:
    """Migrates as `firelift migrate` does, in this process and without Prefect. Raises the FireliftError that ended the run.

    With `resume=True` it continues an earlier run, also one that Prefect carried out. Where Firestore gave up the snapshot of a full run,
    with `on_expired_snapshot="catch-up"`, an incremental run follows, which closes the gap.
    """
    put_workflow_first()
    import expectations
    from firelift.firestore.source import source_label
    from firelift.migration.migrate import migrate as carry_out

    named = resolve_run(settings, new_migration_id(), source_label)
    # Whoever changes directory later still finds what an error or a report names.
    named = named.model_copy(update={"working_dir": Path(os.path.abspath(named.working_dir))})
    run = Run(migration_id=str(named.migration_id), settings=named.public())
    with open_migration(run, Surroundings(expectations), named) as migration:
        carry_out(migration, InlineSteps(migration))
    if (following := catching_up(named, migration.reported)) is not None:
        migrate(following)
    return MigrationRun(migration.directory)


def open_run(path: Path | str) -> MigrationRun:
    """The run in this directory: `<working_dir>/runs/<migration_id>`, or a working directory, of which it is the latest run.

    Raises NoSuchRun.
    """
    directory = Path(path).absolute()
    if (directory / "runs").is_dir():
        return MigrationRun(Workspace.latest(directory).run.absolute())
    if directory.parent.name != "runs" or not directory.is_dir():
        raise NoSuchRun(directory=str(directory))
    return MigrationRun(directory)


def _dtype(arrow_type: Any) -> Any:
    """The pandas dtype in which a column of this Arrow type loses nothing; None: as pandas has it."""
    import pandas as pd
    import pyarrow as pa

    dtypes = {
        pa.int64(): pd.Int64Dtype(),
        pa.float64(): pd.ArrowDtype(pa.float64()),
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
    }
    return dtypes.get(arrow_type)
