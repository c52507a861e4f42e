"""A migration is asked to stop, from anywhere and in any phase: it ends by itself, says so, and goes on when resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from signal import SIGTERM

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from tests.support.command_line import Operator
from tests.support.gateway import Gateway
from tests.support.holding import held_in
from tests.support.migrating import SOAK, Ground, Place, Started, Undisturbed, differences, start
from tests.support.prefect_servers import CHECKOUT, Api
from tests.support.warm_commands import BY_PREFECT

Ask = Callable[[Place, Started, Api], None]


def second_shell(place: Place, started: Started, api: Api) -> None:
    said = place.firelift("stop")
    assert said.code == 0, said.err


def emergency_stop(place: Place, started: Started, api: Api) -> None:
    said = place.firelift("migrate", "--emergency-stop")
    assert said.code == 0, said.err


def another_machine(place: Place, started: Started, api: Api) -> None:
    """There is neither the working directory nor anything else there but the target's URL."""
    elsewhere = Operator(place.operator.directory / "elsewhere", {"SUPABASE_DB_URL": place.url, "PYTHONPATH": str(CHECKOUT)})
    said = start(elsewhere, ["stop"]).wait()
    assert said.code == 0, said.err
    assert place.migration_id in said.out + said.err


def ctrl_c(place: Place, started: Started, api: Api) -> None:
    started.interrupt()


def sigterm(place: Place, started: Started, api: Api) -> None:
    started.signal(SIGTERM)


def two_ctrl_c(place: Place, started: Started, api: Api) -> None:
    started.interrupt()
    time.sleep(0.3)  # as fast as a hand is
    started.interrupt()


def cancel_in_prefect(place: Place, started: Started, api: Api) -> None:
    (run,) = runs_of(place, api)
    api.post(f"flow_runs/{run['id']}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})


# Each way once and each phase once; the others are for `make soak`. Before extraction another machine knows of no run.
TOGETHER: dict[str, Ask] = {
    "pre_validation": second_shell,
    "extraction": another_machine,
    "transformation": ctrl_c,
    "import": cancel_in_prefect,
    "verification": sigterm,
    "publish": emergency_stop,
}
OTHERS = [(phase, ask) for phase in TOGETHER for ask in TOGETHER.values() if TOGETHER[phase] != ask]
KNOWN = [(phase, ask) for phase, ask in OTHERS if (phase, ask) != ("pre_validation", another_machine)]


@pytest.mark.parametrize(
    ("phase", "ask"),
    [pytest.param(phase, ask, id=f"{ask.__name__} in {phase}") for phase, ask in [*TOGETHER.items(), *(KNOWN if SOAK else [])]],
)
def test_it_stops_in_every_phase_whoever_asks(
    phase: str, ask: Ask, ground: Ground, front: Gateway, undisturbed: Undisturbed, api: Api
) -> None:
    with ground.place(**BY_PREFECT) as place:
        with held_in(phase, place, front) as (held, reached):
            started = held.start()
            started.until(reached)
            end(ask, place, started, api)
        assert place.status()["status"] == "stopped"
        assert place.events()[-1] == "stopped"
        assert recorded(place.url) in ([], ["stopped"])
        assert states(place, api) <= {"CANCELLED", "COMPLETED"}
        assert [run["state_type"] for run in runs_of(place, api)] == ["CANCELLED"]
        resumed(place, front, undisturbed)


def test_two_ctrl_c_end_it_at_once(ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.place(**BY_PREFECT) as place:
        with held_in("import", place, front) as (held, reached):
            started = held.start()
            started.until(reached)
            end(two_ctrl_c, place, started)
        assert place.events()[-1] == "stopped"
        resumed(place, front, undisturbed)


def end(ask: Ask, place: Place, started: Started, api: Api | None = None) -> None:
    """Asks, waits, and looks who is left."""
    family, asked = started.family(), time.monotonic()
    ask(place, started, api)  # type: ignore[arg-type]
    said = started.wait()
    print(f"stopped {time.monotonic() - asked:.1f} s after {ask.__name__}")
    assert said.code == 3, said.err
    assert [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []


def resumed(place: Place, front: Gateway, undisturbed: Undisturbed) -> None:
    before, passed = place.archived(), front.count()
    said = place.migrate("--resume")
    assert said.code == 0, said.err
    assert before.files.items() <= place.archived().files.items()
    assert passed.documents == undisturbed.documents - before.documents
    assert differences(place.content(), undisturbed.content) == []


def runs_of(place: Place, api: Api) -> list[dict[str, str]]:
    return api.every("flow_runs", flow_runs={"name": {"any_": [f"full {place.migration_id}"]}}, sort="START_TIME_DESC")


def states(place: Place, api: Api) -> set[str]:
    """Of the run's children."""
    return {child["state_type"] for run in runs_of(place, api) for child in api.subflows_of(run["id"])}


def recorded(url: str) -> list[str]:
    """What the target says of its runs."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('firelift.migrations')").fetchone() == (None,):
            return []
        return [status for (status,) in connection.execute("SELECT status FROM firelift.migrations")]
