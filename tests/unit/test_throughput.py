"""How fast a run got on is kept in bounded room, and over a resume."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from firelift.run.status import Status
from firelift.run.throughput import THROUGHPUT, Throughput
from firelift.run.timestamps import timestamp
from firelift.run.workspace import Workspace


def ticking(seconds: float) -> Callable[[], str]:
    """A clock that goes on by so much at every look."""
    moments = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds * tick) for tick in range(1_000_000))
    return lambda: timestamp(next(moments))


def test_a_second_has_one_sample() -> None:
    throughput = Throughput(clock=ticking(0.25))
    for done in range(41):
        throughput.take("extraction", done, 0)
    assert [sample["documents"] for sample in throughput.render()["samples"]] == list(range(0, 41, 4))


def test_a_long_run_has_as_many_samples_as_a_middling_one() -> None:
    throughput = Throughput(most=600, clock=ticking(1.0))
    for done in range(20_000):
        throughput.take("extraction" if done < 15_000 else "import", done, done, is_edge=done in (0, 14_999, 15_000, 19_999))
    samples = throughput.render()["samples"]
    assert 200 < len(samples) <= 601
    assert [samples[0]["documents"], samples[-1]["documents"]] == [0, 19_999]
    assert {14_999, 15_000} <= {sample["documents"] for sample in samples}
    assert throughput.render()["everySeconds"] >= 32


def test_what_is_counted_again_after_a_resume_is_no_speed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "migration-1").create()
    with Status.open(workspace) as status:
        status.start_phase("extraction")
        status.advance("extraction", "users", documents=500)
        status.stop()
    with Status.open(workspace) as status:
        status.start_phase("extraction")
        status.advance("extraction", "users", documents=500)  # what stands is counted again
        status.advance("extraction", "users", documents=100)
        status.finish_phase("extraction", {})
    samples = workspace.read_json(THROUGHPUT)["samples"]
    assert [(sample["phase"], sample["documents"]) for sample in samples] == [
        ("extraction", 0),
        ("extraction", 500),
        ("extraction", 500),
        ("extraction", 600),
    ]


def test_a_damaged_file_costs_the_samples_only(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "migration-1").create()
    workspace.write(THROUGHPUT, b"{")
    with Status.open(workspace) as status:
        status.start_phase("extraction")
    assert len(workspace.read_json(THROUGHPUT)["samples"]) == 1
