"""Great Expectations' data context: its data sources are the tables in PostgreSQL and frames in memory."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import great_expectations as gx
import pandas as pd
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults, ProgressBarsConfig
from great_expectations.expectations import Expectation
from great_expectations.validator.v1_validator import Validator

from firelift.errors import FireliftError
from firelift.planning.model import TablePlan
from firelift.postgres.session.connect import Connection, Session
from firelift.postgres.session.sqlalchemy_setup import to_the_letter, watch

# Never used: connections come from `connect_to_read`, so that no password is in Great Expectations' configuration, results or documents.
NO_ADDRESS = "postgresql+psycopg://firelift@target/target"
# Of each expectation; differences.csv has all there are.
MOST_PLACES = 100
PLACE = ("table", "column", "place", "what", "references", "reads_as", "key")


class SuiteResult(NamedTuple):
    """A suite and what came of it."""

    suite: str
    table: str | None
    frame: pd.DataFrame | None
    result: Any


class GxContext:
    """One context for one verification; suites bear the names of what they are asked about."""

    def __init__(
        self, context: Any, target: Any, schema: str, migration_id: str, errors: Sequence[FireliftError], check: Callable[[], None]
    ) -> None:
        self.context = context
        self._check = check
        self.errors = errors
        """What PostgreSQL refused or broke off, in our words: Great Expectations keeps only text of it."""
        self._target, self._schema = target, schema
        self._frames = context.data_sources.add_pandas("proof")
        self._run = RunIdentifier(run_name=migration_id, run_time=datetime.now(UTC))
        self._names: set[str] = set()

    def validate_table(self, table: TablePlan, expectations: Sequence[Expectation]) -> SuiteResult:
        self._check()
        suite = self._named(f"table-{table.table}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The asset bears a plain name, as a file is named after it; the table's own name is taken to the letter.
            asset = self._target.add_table_asset(suite, table_name=to_the_letter(table.table), schema_name=to_the_letter(self._schema))
        batch = asset.add_batch_definition_whole_table("all")
        return SuiteResult(suite, table.table, None, self._validated(suite, batch, expectations, {"result_format": "COMPLETE"}))

    def validate_frame(self, name: str, frame: pd.DataFrame, expectations: Sequence[Expectation]) -> SuiteResult:
        self._check()
        suite = self._named(f"all-{name}")
        batch = self._frames.add_dataframe_asset(suite).add_batch_definition_whole_dataframe("all")
        place = [column for column in PLACE if column in frame]
        form = {"result_format": "SUMMARY", "partial_unexpected_count": MOST_PLACES, "unexpected_index_column_names": place}
        return SuiteResult(suite, None, frame, self._validated(suite, batch, expectations, form, {"dataframe": frame}))

    def _validated(
        self, name: str, batch: Any, expectations: Sequence[Expectation], form: dict[str, Any], parameters: dict[str, Any] | None = None
    ) -> Any:
        # As `ValidationDefinition.run` does, which also keeps suite, definition and result in stores that nobody asks: a third of its time.
        suite = gx.ExpectationSuite(name=name, expectations=list(expectations))
        validator = Validator(batch_definition=batch, batch_parameters=parameters, result_format=form)
        result = validator.validate_expectation_suite(suite)
        result.meta |= {"run_id": self._run, "validation_time": self._run.run_time}
        self.raise_if_waiting_helps()
        return result

    def raise_if_waiting_helps(self) -> None:
        """Raises what broke the way to the target: then nothing is known about the data."""
        for error in self.errors:
            if error.recovery != "never":
                raise error

    def _named(self, name: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
        number, free = 1, plain
        while free.lower() in self._names:
            number += 1
            free = f"{plain}_{number}"
        self._names.add(free.lower())
        return free


@contextmanager
def open_context(session: Session, schema: str, migration_id: str, check: Callable[[], None]) -> Iterator[GxContext]:
    """A context for the tables of this schema; its connections can only read, and are closed with it."""
    refused: list[FireliftError] = []

    def connection() -> Connection:
        try:
            return session.connect_to_read()
        except FireliftError as error:
            refused.append(error)
            raise

    # Without this every context leaves a directory for documents behind.
    nowhere = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    context = gx.get_context(mode="ephemeral", project_config=DataContextConfig(store_backend_defaults=nowhere))
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    # It would write down its whole configuration, all tables that were added before, with every table that is added.
    context.variables.save = lambda: None
    target = _target(context, connection, refused)
    engines = [target.get_engine(), target.get_execution_engine().engine]
    for engine in engines:
        # Great Expectations would ask its next question even after a stop, or without a server.
        watch(engine, lambda: gx_context.raise_if_waiting_helps(), refused.append, "verifying the tables")
    gx_context = GxContext(context, target, schema, migration_id, refused, check)
    try:
        yield gx_context
    except FireliftError:
        raise
    except Exception as error:
        if refused:
            raise refused[-1] from error
        raise
    finally:
        for engine in engines:
            engine.dispose()


def _target(context: Any, connection: Any, refused: list[FireliftError]) -> Any:
    kwargs = {"creator": connection, "pool_size": 1, "max_overflow": 0}
    try:
        return context.data_sources.add_postgres("target", connection_string=NO_ADDRESS, kwargs=kwargs)
    except Exception:
        if refused:
            raise refused[0] from None
        raise
