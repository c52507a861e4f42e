"""kill -9 of a migration with all its processes at random moments, again and again: resumed, it comes to what it would have come to."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import pytest

from tests.support.gateway import Gateway
from tests.support.migrating import VERIFIED, WORKERS, Ground, Place, Started, Undisturbed, differences
from tests.support.warm_commands import BY_PREFECT

KILLS = int(os.environ.get("FIRELIFT_KILLS") or 9)
SEED = int(os.environ["FIRELIFT_FAULT_SEED"])
KILLS_A_RUN = 2, 4

# The stretches of a run in their order, each with how often it is hit, what must have been reached, and how long it takes where that
# is no phase's time (s).
STRETCHES = ["start", "pre_validation", "extraction", "transformation", "import", "verification", "publish", "end"]
WEIGHT = {"extraction": 3, "import": 3, "publish": 3}
BEHIND = {"publish": "verification", "end": "post_migration"}
SECONDS = {"start": 2.5, "end": 1.5}


@dataclass(frozen=True)
class Moment:
    """A point in a stretch of the run; a little more than 1 is soon after its end."""

    stretch: str
    fraction: float

    def __str__(self) -> str:
        return f"{self.stretch} {self.fraction:.2f}"


def scenarios(seed: int, kills: int) -> list[list[Moment]]:
    """Runs that are killed two to four times each, so many times in all."""
    draw = random.Random(seed)
    every = [stretch for stretch in STRETCHES for _ in range(WEIGHT.get(stretch, 1))]
    stretches = cycle(draw.sample(every, len(every)))
    found = []
    while kills:
        times = min(kills, draw.randint(*KILLS_A_RUN))
        hit = sorted((next(stretches) for _ in range(times)), key=STRETCHES.index)
        found.append([Moment(stretch, draw.uniform(0, 1.2)) for stretch in hit])
        kills -= times
    return found


@pytest.mark.parametrize("moments", scenarios(SEED, KILLS), ids=lambda moments: f"seed {SEED}: {', '.join(map(str, moments))}")
def test_killed_and_resumed_it_comes_to_the_same(
    moments: Sequence[Moment], ground: Ground, front: Gateway, undisturbed: Undisturbed
) -> None:
    with ground.place(**BY_PREFECT, **VERIFIED) as place:
        for number, moment in enumerate(moments, 1):
            before, passed = place.archived(), front.count()
            started = place.start(*resuming(place))
            live_until(moment, place, started, undisturbed)
            started.kill()
            after = place.archived()
            print(f"{moment}: killed in {place.status().get('currentPhase')}, {len(after.files)} chunks archived")
            assert before.files.items() <= after.files.items(), "a chunk that counted was touched"
            assert passed.documents <= undisturbed.documents - before.documents, "a chunk that counted was read again"
            assert after.unlisted <= number * WORKERS, "more files than the chunks in flight"
        before, passed = place.archived(), front.count()
        said = place.migrate(*resuming(place))
        assert said.code == 0, said.err
        assert before.files.items() <= place.archived().files.items(), "a chunk that counted was touched"
        assert passed.documents == undisturbed.documents - before.documents
        assert differences(place.content(), undisturbed.content) == []
        assert place.status()["status"] == "completed"


def resuming(place: Place) -> list[str]:
    """A run that was killed before it had a directory is simply started."""
    return ["--resume"] if place.status() else []


def live_until(moment: Moment, place: Place, started: Started, undisturbed: Undisturbed) -> None:
    """Waits for the moment of this attempt, or for the end of one that does not come to it."""
    if moment.stretch != "start":
        while started.running() and not _is_reached(moment.stretch, place, started):
            time.sleep(0.005)
    seconds = SECONDS.get(moment.stretch) or undisturbed.seconds[moment.stretch]
    deadline = time.monotonic() + moment.fraction * seconds
    while started.running() and time.monotonic() < deadline:
        time.sleep(0.001)


def _is_reached(stretch: str, place: Place, started: Started) -> bool:
    status = place.status()
    # What an earlier attempt had reached does not count.
    if status.get("process", {}).get("pid") != started.process.pid:
        return False
    states = ("completed",) if stretch in BEHIND else ("running", "completed")
    return status["progress"]["phases"][BEHIND.get(stretch, stretch)]["state"] in states
