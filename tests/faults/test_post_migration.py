"""The app's configuration cannot be updated at the end: the tables stand all the same, and the run goes on when that is mended."""

from __future__ import annotations

from tests.support.gateway import Gateway
from tests.support.holding import held_in
from tests.support.migrating import Ground, Undisturbed, differences


def test_a_configuration_that_breaks_meanwhile(ground: Ground, front: Gateway, undisturbed: Undisturbed) -> None:
    with ground.place() as place:
        place.operator.here.mkdir(parents=True)
        app = place.operator.here / "app.json"
        app.write_text('{"schema": "firestore"}')
        with held_in("publish", place, front) as (held, reached):
            started = held.start("--app-config", "app.json", "--app-config-values", "schema={target_schema}")
            started.until(reached)
            app.write_text('{"schema": ')
        said = started.wait()
        assert said.code == 1
        assert "The tables ARE published, but the app's configuration could not be updated" in said.error
        assert "line 1, column 12 is not JSON" in said.error
        assert (place.state("post_migration"), place.status()["status"]) == ("failed", "failed")
        assert differences(place.content(), undisturbed.content) == ["runs: 1 instead of 1; too much: ['failed']; missing: ['completed']"]

        app.write_text('{"schema": "firestore", "mine": 1}')
        passed = front.count()
        said = place.migrate("--resume")
        assert said.code == 0, said.err
        assert passed.documents == 0
        assert app.read_text() == '{"schema": "public", "mine": 1}'
        assert (app.parent / f"app.json.before-{place.migration_id}").read_text() == '{"schema": "firestore", "mine": 1}'
        assert differences(place.content(), undisturbed.content) == []
