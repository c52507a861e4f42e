"""Prefect's server hears, as events, what becomes of a migration, and the shipped automations tell people about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from tests.support.command_line import CANARY, ONE_WORKER, Operator
from tests.support.prefect_servers import CHECKOUT, Api, database, eventually, prefect, tables_of
from tests.support.warm_commands import BY_PREFECT
from tests.support.whole_way import new_source, write

AUTOMATIONS = CHECKOUT / "deployments" / "automations"
LONG = "k" * 1500
NO_BLOCK = "00000000-0000-0000-0000-000000000000"


FAILED, PUBLISHED, PLANNED = (f"{what}-{token_hex(4)}" for what in ("bad", "good", "plan"))
"""Names of migrations, which the server of several tests has not heard before."""


class Receiver(HTTPServer):
    """Somebody's chat: takes what is posted."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        super().__init__(("127.0.0.1", 0), Posted)


class Posted(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass(frozen=True)
class Told:
    """What a chat and the server's list of events have of three migrations."""

    messages: list[str]
    events: dict[str, dict[str, dict[str, Any]]]
    source: Source


@pytest.fixture(scope="module")
def chat() -> Iterator[Receiver]:
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


@pytest.fixture(scope="module")
def told(
    chat: Receiver, emulator_host: str, postgres: PostgresServer, prefect_api: str, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Told]:
    """After a plan, a migration that does not pass its verification, and one that is published without one of its documents."""
    directory = tmp_path_factory.mktemp("events")
    with automations(prefect_api, api, chat, directory), new_source(emulator_host) as source, database(postgres) as url:
        write(source, {"users/ada": {"name": "Ada"}, "users/bob": {"name": "Bob"}, f"deep/{LONG}/below/{LONG}": {"n": 1}})
        given = {"FIRESTORE_EMULATOR_HOST": emulator_host, "GOOGLE_CLOUD_PROJECT": source.project, "PREFECT_API_URL": prefect_api}
        secret = {"SUPABASE_DB_URL": url, "SUPABASE_SERVICE_ROLE_KEY": f"{CANARY}-key"}
        operator = Operator(directory, {**ONE_WORKER, **BY_PREFECT, **given, **secret})
        assert operator.firelift("plan", "--migration-id", PLANNED).code == 0
        failed = operator.firelift("migrate", "--migration-id", FAILED)
        assert failed.code == 4, failed.err
        assert tables_of(url) == {}
        published = operator.firelift("migrate", "--migration-id", PUBLISHED, "--max-rejects", "1")
        assert published.code == 0, published.err
        eventually(60, lambda: "published" in events_of(api, PUBLISHED) and "rolled-back" in events_of(api, FAILED))
        yield Told(chat.messages, {name: events_of(api, name) for name in (PLANNED, FAILED, PUBLISHED)}, source)


@contextmanager
def automations(prefect_api: str, api: Api, chat: Receiver, directory: Path) -> Iterator[None]:
    """Those that are shipped, with a notification block of ours, made as the README says."""
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        made: Any = CustomWebhookNotificationBlock
        block = made(name="chat", url=f"http://127.0.0.1:{chat.server_port}/", json_data={"text": "{{subject}}\n{{body}}"})
        block_id = block.save(f"chat-{token_hex(4)}")
    for file in sorted(AUTOMATIONS.glob("*.yaml")):
        ready = directory / file.name
        ready.write_text(file.read_text().replace(NO_BLOCK, str(block_id)))
        done = prefect(prefect_api, "automation", "create", "--from-file", str(ready))
        assert done.returncode == 0, done.stdout + done.stderr
    try:
        yield
    finally:
        # Other tests have automations of their own on this server.
        for automation in api.every("automations"):
            if automation["name"] in {f"firelift-{file.stem}" for file in AUTOMATIONS.glob("*.yaml")}:
                api.client.delete(f"/automations/{automation['id']}").raise_for_status()


def events_of(api: Api, migration: str) -> dict[str, dict[str, Any]]:
    """What the server has heard of a migration, by the last part of the event's name, in the order in which it happened."""
    wanted = {"resource": {"id": [f"firelift.migration.{migration}"]}, "order": "ASC"}
    found = api.post("events/filter", filter=wanted, limit=50)["events"]
    return {event["event"].removeprefix("firelift.migration."): event for event in found}


def test_a_published_migration_is_announced_with_its_counts(told: Told) -> None:
    found = told.events[PUBLISHED]
    assert list(found) == ["started", "published"]
    assert found["started"]["payload"] | {"target": ""} == {
        **{"mode": "full", "project": told.source.project, "target": "", "schema": "public", "resumed": False}
    }
    published = found["published"]
    assert published["resource"]["firelift.verification"] == "passed"
    assert published["resource"]["firelift.rejects"] == "some"
    payload = published["payload"]
    assert (payload["documentsRead"], payload["rowsLoaded"], payload["rowsRejected"], payload["tables"]) == (3, 2, 1, 2)
    assert payload["said"].startswith("Completed: ")
    # The server knows which flow run it was.
    assert any(related["prefect.resource.id"].startswith("prefect.flow-run.") for related in published["related"])


def test_a_plan_publishes_nothing_and_says_so_by_silence(told: Told) -> None:
    assert list(told.events[PLANNED]) == ["started"]


def test_a_failed_verification_is_announced_without_a_value_or_a_secret(told: Told) -> None:
    found = told.events[FAILED]
    assert set(found) == {"started", "failed", "rolled-back"}
    failed = found["failed"]
    assert failed["resource"]["firelift.rejects"] == "some"
    assert failed["resource"]["firelift.verification"] == "failed"
    assert failed["payload"]["phase"] == "verification"
    assert "the target is restored" in failed["payload"]["said"]
    assert LONG not in json.dumps(told.events)
    assert CANARY not in json.dumps(told.events)


def test_the_shipped_automations_tell_people(told: Told) -> None:
    assert sorted(file.stem for file in AUTOMATIONS.glob("*.yaml")) == ["failed", "published", "rejects", "verification-failed"]
    ours = {
        f"{FAILED} failed",
        f"{FAILED} did not pass its verification",
        f"{PUBLISHED} is published",
        f"{PUBLISHED} is published without some documents",
    }
    eventually(120, lambda: all(any(text in message for message in told.messages) for text in ours))
    assert any("1 rejected" in message for message in told.messages)
    assert CANARY not in "".join(told.messages)
