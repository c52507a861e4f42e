"""Worker processes: they are ready early, and a call that was begun early is not made twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firelift.errors import Stopped
from firelift.migration.early_start import start_workers_early, workers_of_run
from firelift.workers import WorkerFailed, Workers
from tests.support import import_mark as marking
from tests.support.import_mark import MARK
from tests.support.prefect_servers import eventually
from tests.support.worker_calls import asked, counted_down, failed, numbered, slept, told


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(1) as one:
        yield one


def test_a_call_that_was_begun_is_taken_up_by_the_same_call_and_by_no_other(workers: Workers) -> None:
    workers.begin(numbered, "a")
    other, begun = workers.call(numbered, "b"), workers.call(numbered, "a")
    # Which of them the worker gets first is the system's to say; a third call would have shown in the numbers.
    assert {other, begun} in ({("a", 1), ("b", 2)}, {("a", 2), ("b", 1)})
    assert workers.call(numbered, "a") == ("a", 3)


def test_what_a_begun_call_raised_is_raised_where_it_is_taken_up_and_not_again(workers: Workers) -> None:
    workers.begin(failed, os.devnull)
    with pytest.raises(WorkerFailed, match="cannot be"):
        workers.call(failed, os.devnull)
    with pytest.raises(WorkerFailed):
        workers.call(failed, os.devnull)
    assert workers.call(numbered, "a") == ("a", 1)


def test_a_stop_ends_a_call_that_was_begun(workers: Workers) -> None:
    workers.begin(slept, 600.0)
    workers.stop()
    with pytest.raises(Stopped):
        workers.call(slept, 600.0)


def test_a_worker_imports_what_it_will_need_before_it_is_asked_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv(MARK, str(mark))
    with Workers(1, [marking.__name__]):
        eventually(60, mark.exists)
    mark.unlink()
    with Workers(1) as bare:
        assert bare.call(numbered, "a") == ("a", 1)
    assert not mark.exists()


def test_a_run_takes_the_workers_that_were_begun_ahead_and_only_once() -> None:
    with start_workers_early(1) as early:
        assert workers_of_run(1) is early
        with workers_of_run(1) as others:
            assert others is not early
    with pytest.raises(Stopped):
        early.call(numbered, "a")


def test_workers_of_another_number_are_left_where_they_are() -> None:
    with start_workers_early(1) as early, workers_of_run(2) as taken:
        assert taken is not early
        assert taken.number == 2


def test_whoever_does_not_begin_ahead_gets_new_ones() -> None:
    with workers_of_run(1) as taken:
        found: Any = taken.call(numbered, "a")
        assert found == ("a", 1)


def test_while_a_worker_is_idle_a_call_that_can_be_divided_gives_a_part_away_and_all_of_it_is_done() -> None:
    with Workers(3) as three:
        done = list(three.each(counted_down, [(0, 60)], divisible=True))
    assert len(done) > 2
    assert sorted(number for _, numbers in done for number in numbers) == list(range(60))
    assert len({process for process, _ in done}) > 1


def test_calls_are_not_divided_where_all_workers_have_work_or_nobody_may_divide() -> None:
    with Workers(2) as two:
        assert len(list(two.each(counted_down, [(0, 20), (20, 40)]))) == 2
    with Workers(1) as one:
        assert len(list(one.each(counted_down, [(0, 20)], divisible=True))) == 1


def test_a_call_that_keeps_its_work_when_it_is_asked_is_carried_out_alone(workers: Workers) -> None:
    with Workers(2) as two:
        ((_, numbers),) = list(two.each(counted_down, [(0, 5)], divisible=True))
    assert numbers == [0, 1, 2, 3, 4]


def test_nobody_is_asked_as_long_as_calls_wait() -> None:
    with Workers(2) as two:
        assert sum(two.each(asked, [(3,)] * 12, divisible=True)) <= 2


def test_after_an_error_the_others_end_and_their_workers_are_free() -> None:
    with Workers(2) as two:
        with pytest.raises(WorkerFailed, match="nothing to look at"):
            list(two.each(asked, [(0,), (20,)], divisible=True))
        assert {two.call(numbered, "a")[0], two.call(numbered, "b")[0]} == {"a", "b"}


def test_a_part_that_is_given_away_after_an_error_is_left_to_the_next_attempt() -> None:
    with Workers(2) as two:
        calls = two.each(counted_down, [(0, 0, "not a number"), (0, 60)], divisible=True)
        with pytest.raises(WorkerFailed):
            list(calls)
        assert two.call(numbered, "a")[0] == "a"
        assert two.call(numbered, "b")[0] == "b"


def test_a_worker_whose_report_could_not_be_taken_is_replaced(workers: Workers) -> None:
    def refuse(progress: object) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        workers.call(told, report=refuse)
    assert workers.call(numbered, "a") == ("a", 1)
