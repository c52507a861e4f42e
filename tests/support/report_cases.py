"""Reports of runs that ended in every way, made as a run makes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firelift.errors import FireliftError
from firelift.files import write_sealed
from firelift.modes.test.costs import CollectionSeen, Pace, estimate
from firelift.planning.increment import INCREMENT, Increment
from firelift.receipts import Completeness, Difference, FailedExpectation, TableCompared, Verified
from firelift.run.reports import TableReport
from firelift.run.reports.final import final_report
from firelift.run.reports.report_inputs import Material, material_of
from firelift.run.status import Status
from firelift.run.throughput import Throughput
from firelift.run.timestamps import timestamp
from firelift.run.workspace import Workspace

SETTINGS: dict[str, Any] = {
    "dry_run": False,
    "migration_mode": "full",
    "target_schema": "public",
    "range_documents": 50_000,
    "working_dir": "migration-workspace",
}
NAMES = (
    "events",
    "users/*/orders",
    "users",
    "users/*/orders/*/items",
    "products",
    "products/*/reviews",
    "rooms/*/messages",
    "rooms",
    "orgs",
)
EVIL = '<script>alert("x")</script>'


class WrongKey(FireliftError):
    """Firestore does not take the key."""

    remedy = "Give another key file."


class Differs(FireliftError):
    """The rows are not what Firestore holds."""

    remedy = "Open verification-results/ for what differs."


def table(collection: str, documents: int, rejected: int = 0, residue: int = 0) -> TableReport:
    name = collection.replace("/*/", "_")
    return {
        "collection": collection,
        "table": name,
        "documents": documents,
        "rows": documents - rejected,
        "rejected": rejected,
        "residue": residue,
    }


def tables_of(names: Sequence[str] = NAMES) -> list[TableReport]:
    return [table(name, round(40_000 * math.exp(-place / 2)) + 12, int(place % 4 == 1), 40 * place) for place, name in enumerate(names)]


def verified(tables: Sequence[TableReport], differing: int = 0, level: str = "comprehensive") -> Verified:
    """What the phase notes; the first table has the differences."""
    first = tables[0]["table"]
    compared = [
        TableCompared(
            collection=each["collection"],
            table=each["table"],
            documents=each["documents"],
            rejected=each["rejected"],
            rows=each["rows"],
            compared=each["rows"] if level == "comprehensive" else min(100, each["rows"]),
            differing=differing if each["table"] == first else 0,
            whole=level == "comprehensive" or each["rows"] <= 100,
        )
        for each in tables
    ]
    differences = [
        Difference(table=first, key=f"u{number}", field="address.zip", what="value", expected="string '04109'", found="string '04109 '")
        for number in range(min(differing, 100))
    ]
    failed = [
        FailedExpectation(
            suite="comprehensive", expectation="no difference", table=first, column=None, expected="0", observed=str(differing)
        )
    ]
    return Verified(
        level=level,
        against="archive",
        seed="migration-1",
        passed=not differing,
        tables=tuple(compared),
        compared=sum(each.compared for each in compared),
        reread=200,
        expectations=57,
        failed=tuple(failed) if differing else (),
        failed_total=1 if differing else 0,
        differences_total=differing,
        differences=tuple(differences),
    )


def samples(pause: float = 0.0) -> dict[str, Any]:
    """A run of two minutes, interrupted for so many seconds in the middle of its extraction."""
    clock = iter(range(10_000))
    began = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    elapsed = {"now": 0.0}
    throughput = Throughput(clock=lambda: timestamp(began + timedelta(seconds=elapsed["now"] + 0 * next(clock))))
    done = 0.0
    for second in range(60):
        done += 1500 * min(1.0, second / 8) * (1 + 0.25 * math.sin(second) * math.cos(second * 1.7))
        elapsed["now"] += 1 + (pause if second == 30 else 0)
        throughput.take("extraction", round(done), 0)
    for phase, speed, seconds in (("transformation", 5200, 16), ("import", 3400, 25), ("verification", 4300, 20)):
        for second in range(seconds):
            elapsed["now"] += 1
            moved = round(speed * second * (1 + 0.05 * math.sin(second)))
            throughput.take(phase, 0 if phase == "import" else moved, moved if phase == "import" else 0)
    return throughput.render()


REASONS = [
    {
        "collection": "users",
        "table": "users",
        "why": "named as the collection",
        "keys": ["id"],
        "columns": [
            {"field": "name", "column": "name", "type": "text", "holds": "string", "why": "every value is a string"},
            {
                "field": "createdAt",
                "column": "created_at",
                "type": "timestamptz",
                "holds": "timestamp",
                "why": "every value is a timestamp; renamed by snake_case",
            },
            {
                "field": "age",
                "column": "age",
                "type": "jsonb",
                "holds": "json",
                "why": "mixed types (88 % integers, 12 % strings): only jsonb holds them all",
            },
        ],
        "extra": None,
    }
]


SAMPLED: dict[str, Any] = {
    "size": 5,
    "seed": "a seed",
    "collections": [{"collection": EVIL, "drawn": 5, "needed": 1, "left_out": 2, "absent": 3}],
}
_SEEN = CollectionSeen(
    collection=EVIL, table="script", documents=1000, exact=False, sampled=6, archive_bytes=600.0, tables_bytes=60, target_bytes=16_384
)
ESTIMATE = estimate(
    [_SEEN], read=1000, counts=1, pace=Pace(run=None, seconds={"extraction": 2.0}, documents={"extraction": 10}), read_price=0.06
).report()


def report_of(
    directory: Path,
    tables: Sequence[TableReport] | None = None,
    proof: Verified | None = None,
    error: BaseException | None = None,
    dry_run: bool = False,
    throughput: dict[str, Any] | None = None,
    rolled_back: bool = False,
    reasons: list[dict[str, Any]] | None = None,
    increment: Increment | None = None,
    tried: bool = False,
    completeness: Completeness | None = None,
) -> dict[str, Any]:
    """The report of a run with these tables that ended in this way; `proof` is what its verification found."""
    workspace = Workspace(directory, "migration-1").create()
    listed = tables_of() if tables is None else list(tables)
    documents, rows = sum(each["documents"] for each in listed), sum(each["rows"] for each in listed)
    if increment is not None:
        write_sealed(workspace.run / INCREMENT, increment.model_dump_json())
    with Status.open(workspace, "test" if tried else "incremental" if increment else "full") as status:
        status.start_phase("pre_validation")
        roots = [{"collection": each["collection"], "start": None, "end": None, "documents": each["documents"]} for each in listed]
        status.finish_phase("pre_validation", {"roots": roots, "postgres_version": "15.8"})
        status.set_read_time("2026-11-22T10:30:00Z")
        status.start_phase("extraction")
        status.advance("extraction", documents=documents, bytes=570 * documents)
        status.finish_phase("extraction", {})
        if completeness is not None:
            status.add_statistics(completeness=completeness.model_dump())
        if increment is not None:
            status.add_statistics(keysCompared=sum(each.keys for each in increment.tables if each.before and each.scanned))
        status.start_phase("transformation")
        counted = {
            each["collection"]: {
                "rows": each["rows"],
                "residue": each["residue"],
                "rejected": each["rejected"],
                "causes": {"explicit null where a missing field is usual": each["residue"]} if each["residue"] else {},
            }
            for each in listed
        }
        rejected = sum(each["rejected"] for each in listed)
        reasons_of = {"its ids are longer than the 2704 bytes of an index entry": rejected} if rejected else {}
        status.finish_phase("transformation", {"tables": counted, "rejected": rejected, "residue": 0, "reasons": reasons_of})
        status.add_statistics(rowsRejected=rejected, residueRows=sum(each["residue"] for each in listed))
        if not dry_run:
            status.start_phase("import")
            status.advance("import", rows=rows)
            status.finish_phase("import", {"rows": rows})
            status.start_phase("verification")
            if proof is not None:
                status.add_statistics()
                workspace.write_json("verification-results/verification.json", proved(proof))
        if error is not None:
            if rolled_back:
                status.add_statistics(rolledBack={"migration_id": "migration-1", "staging_dropped": True})
            status.fail(error)
        else:
            if increment is not None and not increment.touched and not dry_run:
                status.skip_phase("verification", "nothing has changed")
            if proof is not None:
                status.finish_phase("verification", proof.model_dump(mode="json"))
            status.warn("users: the stream was resumed after a break: UNAVAILABLE", "extraction")
            status.complete()
    found = material_of(workspace, status.data())
    drawn = (SAMPLED, ESTIMATE) if tried else (None, None)
    material = Material(reasons or found.reasons, throughput or found.throughput, found.proved, found.increment, *drawn)
    settings = SETTINGS | {"dry_run": dry_run, "migration_mode": status.data()["mode"]}
    return final_report(settings, status.data(), {"database": "d", "tables": []}, listed, "db.example/postgres", material)


def proved(proof: Verified) -> dict[str, Any]:
    """`verification.json` as the expectations write it."""
    failed = [each.model_dump(mode="json") | {"success": False, "severity": "critical"} for each in proof.failed]
    passed = [{"expectation": "rows", "success": True, "severity": "critical"}] * (proof.expectations - len(failed))
    return {
        "schemaVersion": 1,
        "migrationId": "migration-1",
        "level": proof.level,
        "against": proof.against,
        "seed": proof.seed,
        "passed": proof.passed,
        "tables": [each.model_dump(mode="json") for each in proof.tables],
        "rereads": [{"table": "users", "asked": proof.reread, "differing": 0, "unavailable": None}],
        "differencesTotal": proof.differences_total,
        "differences": [each.model_dump(mode="json") for each in proof.differences],
        "expectations": [*passed, *failed],
        "warnings": [],
    }
