"""One target, one run at a time: a second one steps back, a dead one is in nobody's way."""

from __future__ import annotations

import psycopg

from firelift.migration.rollback import roll_back_run
from tests.support.gateway import Gateway
from tests.support.holding import held_in, kill_in
from tests.support.migrating import BATCH, WORKERS, Content, Ground, Undisturbed, content, differences, files_below
from tests.support.warm_commands import BY_PREFECT

# The heartbeat of the run that goes on.
CHANGING = ("migration-status.json", "migration-checkpoint.json", "migration-log.json", "throughput.json")


def test_a_second_run_refuses_and_names_the_first(ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.place() as first, ground.place(SUPABASE_DB_URL=first.url) as second:
        with held_in("publish", first, front) as (held, reached):
            started = held.start()
            started.until(reached)
            said = second.migrate()
            assert started.running()
            # Another schema of the same database is another target.
            apart = second.migrate("--target-schema", "apart", "--migration-id", "apart")
            assert apart.code == 0, apart.err
            assert second.firelift("stop", "--target-schema", "apart").code == 2
            assert second.with_(MIGRATION_MIGRATION_ID=None).firelift("rollback", "--target-schema", "apart").code == 0
            assert started.running()
        assert said.code == 1
        assert "Another run of Firelift is writing this target" in said.error
        assert first.migration_id in said.error
        assert second.status()["status"] == "failed"
        assert started.wait().code == 0
        assert differences(without_run(first.url, "apart"), undisturbed.content) == []


def test_a_dead_run_does_not_block_another(ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.place(**BY_PREFECT) as dead, ground.place(SUPABASE_DB_URL=dead.url) as next_:
        kill_in("import", dead, front)
        said = next_.migrate()
        assert said.code == 0, said.err
        found = without_run(dead.url, dead.migration_id)
        assert differences(found, undisturbed.content) == []


def test_resuming_a_run_that_goes_on_refuses_and_touches_nothing(ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.place() as place:
        passed = front.count()
        with front.held("RunQuery", after=3 * BATCH, calls=WORKERS) as reached:
            started = place.start()
            started.until(reached.is_set)
            started.until(lambda: place.archived().documents == passed.documents)
            settled = files_below(place.run, but=CHANGING)
            log = (place.run / "migration-log.json").read_bytes()
            for arguments in (["--resume"], ["--resume", "--checkpoint-file", str(place.workspace / "migration-checkpoint.json")]):
                said = place.migrate(*arguments)
                assert said.code == 1, said.err
                assert place.migration_id in said.error
                assert "Another run of Firelift is writing this target" in said.error
            said = place.migrate()
            assert said.code == 2, said.err
            assert "--resume" in said.error
            assert files_below(place.run, but=CHANGING) == settled
            assert (place.run / "migration-log.json").read_bytes() == log
            assert place.status()["process"]["pid"] == started.process.pid
            assert started.running()
        said = started.wait()
        assert said.code == 0, said.err
        assert place.status()["status"] == "completed"
        assert differences(place.content(), undisturbed.content) == []


def without_run(url: str, migration_id: str) -> Content:
    """The target's content once what a dead run left there is taken back."""
    roll_back_run(url, migration_id, False)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM firelift.migrations WHERE migration_id = %s", [migration_id])
    return content(url)
