"""Documents read from Firestore once more are those in the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from firelift.planning.model import TablePlan
from firelift.postgres.schema.target_table import TargetTable
from firelift.receipts import Difference
from firelift.verification.check import Check, Evidence, Found, Inputs, Row, always
from firelift.verification.difference_file import write_differences
from firelift.verification.inputs import StoredChunk
from firelift.verification.missing_rows import Key, keys_at
from firelift.verification.random_sample import draw_documents
from firelift.verification.reread import reread_tables


def find(inputs: Inputs) -> Found:
    """Some documents of every table. Where Firestore no longer has the snapshot that is a warning."""
    verification, tables = inputs.verification, inputs.tables
    if verification.source is None:
        return Found()
    wanted, seed = verification.level.rereads, f"{verification.seed}:reread"
    chosen = [(TargetTable(tables.schema, table), _keys(tables.run, inputs.chunks, table, wanted, seed)) for table in tables.plan.tables]
    done = list(reread_tables(verification.source, verification.read_time, tables.session, tables.plan.database, chosen))
    differences = (_read_again(difference) for _, found in done for difference in found)
    rereads = [reread for reread, _ in done]
    unread = (f"{reread.table} could not be read from Firestore again: {reread.unavailable}" for reread in rereads if reread.unavailable)
    return Found(rereads, write_differences(differences, inputs.parts / "reread.csv"), tuple(unread))


def _keys(run: Path, chunks: Sequence[StoredChunk], table: TablePlan, wanted: int, seed: str) -> list[Key]:
    return [
        key
        for number, places in draw_documents(table.collection, chunks, wanted, seed).items()
        for key in keys_at(run, table.collection, chunks[number].name, chunks[number].archived, places)
    ]


def _read_again(difference: Difference) -> Difference:
    """Marked, since the comparison with the archive may list the same document."""
    return difference.model_copy(update={"what": f"{difference.what} (read again)"})


def frame(evidence: Evidence) -> Iterator[Row]:
    for reread in evidence.proof.rereads:
        if not reread.unavailable:
            yield {"table": reread.table, "asked": reread.asked, "differing": reread.differing}


CHECK = Check(
    "rereads",
    "All tables: documents read again from Firestore",
    "comprehensive",
    frame,
    find=find,
    expectations=(
        always(
            "differing",
            0,
            "Documents read from Firestore again, at the run's read time, are those in the target.",
            "differences.csv",
        ),
    ),
)
