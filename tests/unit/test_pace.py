"""Where Firestore says that traffic grows too fast, it is read more slowly, and faster again by its own rule."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from firelift.firestore.channel import Backoff, Firestore, Pace, Source, pace_of
from firelift.firestore.stream import resumed


class Clock:
    """A time that only sleeping and reading take."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Reader:
    """Reads documents that come at some speed, through a pace."""

    def __init__(self, speed: float) -> None:
        self.clock, self.speed = Clock(), speed
        self.pace = Pace(self.clock, self.clock.sleep)

    def came(self, document: bytes) -> bytes:
        self.clock.now += 1 / self.speed
        return document

    def read(self, documents: int) -> float:
        """Returns how many came a second."""
        began = self.clock.now
        for _ in range(documents // 100):
            self.clock.now += 100 / self.speed
            self.pace.took(100)
        return documents / (self.clock.now - began)


def test_documents_are_read_as_fast_as_they_come() -> None:
    assert Reader(20_000).read(400_000) == pytest.approx(20_000)


def test_after_a_refusal_they_are_read_half_as_fast() -> None:
    reader = Reader(20_000)
    reader.read(400_000)
    assert reader.pace.slow_down() == pytest.approx(10_000)
    assert reader.read(400_000) == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize(("minutes", "growth"), [(4, 1), (6, 1.5), (11, 2.25)])
def test_it_grows_by_half_every_five_minutes(minutes: int, growth: float) -> None:
    reader = Reader(20_000)
    reader.read(100_000)
    limit = reader.pace.slow_down()
    assert limit is not None
    reader.clock.now += minutes * 60
    assert reader.read(100_000) == pytest.approx(min(20_000, limit * growth), rel=0.01)


def test_refusals_one_after_another_count_as_one() -> None:
    reader = Reader(20_000)
    reader.read(400_000)
    reader.pace.slow_down()
    assert [reader.pace.slow_down() for _ in range(5)] == [None] * 5
    assert reader.read(100_000) == pytest.approx(10_000, rel=0.01)


def test_refused_again_it_halves_what_it_had_become_and_never_less_than_500() -> None:
    reader, limits = Reader(20_000), []
    for _ in range(8):
        reader.read(50_000)
        limits.append(reader.pace.slow_down())
    assert limits[:3] == pytest.approx([10_000, 5_000, 2_500], rel=0.02)
    assert limits[-1] == 500


def test_who_has_not_read_yet_has_no_limit() -> None:
    reader = Reader(20_000)
    assert reader.pace.slow_down() is None
    assert reader.read(100_000) == pytest.approx(20_000)


def test_a_pause_says_nothing_of_the_speed() -> None:
    reader = Reader(20_000)
    reader.read(100_000)
    reader.clock.now += 60
    assert reader.pace.slow_down() == pytest.approx(10_000, rel=0.01)


def test_after_a_week_it_is_as_if_there_had_been_no_limit() -> None:
    reader = Reader(20_000)
    reader.read(100_000)
    reader.pace.slow_down()
    reader.clock.now += 7 * 86_400
    assert reader.read(100_000) == pytest.approx(20_000)


def test_a_pause_is_not_made_up_for() -> None:
    reader = Reader(20_000)
    reader.read(100_000)
    reader.pace.slow_down()
    reader.clock.now += 60
    assert reader.read(100_000) == pytest.approx(10_000, rel=0.01)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE: busy"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED: busy (reading at most 500 documents a second from here)"),
    ],
)
def test_the_report_says_that_it_is_slower_from_then_on(code: grpc.StatusCode, said: str) -> None:
    class Broke(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return code

        def details(self) -> str:
            return "busy"

    source = Source("lab", database=f"pace-{code.name}")
    pace_of(source).took(10)
    firestore = Firestore(source, grpc.insecure_channel("127.0.0.1:1"))
    assert firestore.broke(Broke()) == said


def test_a_stream_that_is_refused_again_and_again_is_slowed_down_once() -> None:
    class Refused(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.RESOURCE_EXHAUSTED

        def details(self) -> str:
            return "busy"

    class Refusing(Firestore):
        def __init__(self) -> None:
            self.source = Source("lab", database="refusing")
            self.answers = [[b"%d" % number for number in range(2000)], [], [], []]

        def stream(self, method: str, request: bytes) -> Iterator[bytes]:
            yield from self.answers.pop(0)
            if self.answers:
                raise Refused()

        @property
        def pace(self) -> Pace:
            return reader.pace

    reader, said = Reader(2000), list[str]()
    waits = pytest.MonkeyPatch()
    waits.setattr(Backoff, "wait", lambda _: True)
    try:
        found = resumed(Refusing(), lambda last: b"", lambda response: (response, reader.came(response)), None, 2000, said.append)
        assert len(list(found)) == 2000
    finally:
        waits.undo()
    assert said == ["RESOURCE_EXHAUSTED: busy (reading at most 1,000 documents a second from here)", *["RESOURCE_EXHAUSTED: busy"] * 2]
