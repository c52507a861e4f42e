"""Prefect's server hears, as events, what becomes of a migration, and the shipped automations tell people about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from firelift.firestore.channel import Source
from tests.support.command_line import CANARY, QUICKLY, Operator
from tests.support.prefect_servers import CHECKOUT, Api, eventually, prefect, tables_of
from tests.support.warm_commands import BY_PREFECT
from tests.support.whole_way import new_source, write

AUTOMATIONS = CHECKOUT / "deployments" / "automations"
NO_BLOCK = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, {"users/ada": {"name": "Ada"}, "users/bob": {"name": "Bob"}, f"deep/{'k' * 1500}/below/{'k' * 1500}": {"n": 1}})
        yield source


@pytest.fixture
def operator(source: Source, tmp_path: Path, prefect_api: str, database_url: str) -> Operator:
    assert source.emulator_host
    given = {"FIRESTORE_EMULATOR_HOST": source.emulator_host, "GOOGLE_CLOUD_PROJECT": source.project, "PREFECT_API_URL": prefect_api}
    return Operator(tmp_path, {**QUICKLY, **BY_PREFECT, **given, "SUPABASE_DB_URL": database_url, "MIGRATION_AUTO_VERIFICATION": "true"})


def events_of(api: Api, migration: str) -> dict[str, dict[str, Any]]:
    """What the server has heard of a migration, by the last part of the event's name, in the order in which it happened."""
    wanted = {"resource": {"id": [f"firelift.migration.{migration}"]}, "order": "ASC"}
    found = api.post("events/filter", filter=wanted, limit=50)["events"]
    return {event["event"].removeprefix("firelift.migration."): event for event in found}


def heard(api: Api, migration: str, last: str) -> dict[str, dict[str, Any]]:
    eventually(60, lambda: last in events_of(api, migration))
    return events_of(api, migration)


def test_a_published_migration_is_announced_with_its_counts(operator: Operator, api: Api, source: Source) -> None:
    name = f"published-{token_hex(4)}"
    said = operator.firelift("migrate", "--migration-id", name, "--max-rejects", "1")
    assert said.code == 0, said.err
    found = heard(api, name, "published")
    assert list(found) == ["started", "published"]
    assert found["started"]["payload"] | {"target": ""} == {
        **{"mode": "full", "project": source.project, "target": "", "schema": "public", "resumed": False}
    }
    published = found["published"]
    assert published["resource"]["firelift.verification"] == "passed"
    assert published["resource"]["firelift.rejects"] == "some"
    payload = published["payload"]
    assert (payload["documentsRead"], payload["rowsLoaded"], payload["rowsRejected"], payload["tables"]) == (3, 2, 1, 2)
    assert payload["said"].startswith("Completed: ")
    # The server knows which flow run it was.
    assert any(related["prefect.resource.id"].startswith("prefect.flow-run.") for related in published["related"])


def test_a_plan_publishes_nothing_and_says_so_by_silence(operator: Operator, api: Api) -> None:
    name = f"plan-{token_hex(4)}"
    assert operator.firelift("plan", "--migration-id", name).code == 0
    last = f"last-{token_hex(4)}"
    assert operator.firelift("migrate", "--migration-id", last, "--max-rejects", "1").code == 0
    heard(api, last, "published")
    assert list(events_of(api, name)) == ["started"]


def test_a_failed_verification_is_announced_without_a_value_or_a_secret(operator: Operator, api: Api, database_url: str) -> None:
    name = f"failed-{token_hex(4)}"
    said = operator.with_(SUPABASE_SERVICE_ROLE_KEY=f"{CANARY}-key").firelift("migrate", "--migration-id", name)
    assert said.code == 4, said.err
    found = heard(api, name, "rolled-back")
    assert set(found) == {"started", "failed", "rolled-back"}
    failed = found["failed"]
    assert failed["resource"]["firelift.rejects"] == "some"
    assert failed["resource"]["firelift.verification"] == "failed"
    assert failed["payload"]["phase"] == "verification"
    assert "the target is restored" in failed["payload"]["said"]
    assert "k" * 100 not in json.dumps(found)
    assert CANARY not in json.dumps(found)
    assert tables_of(database_url) == {}


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


@pytest.fixture
def chat() -> Iterator[Receiver]:
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    yield receiver
    receiver.shutdown()
    receiver.server_close()


def test_the_shipped_automations_tell_people(operator: Operator, api: Api, prefect_api: str, chat: Receiver, tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: prefect_api}):
        url = f"http://127.0.0.1:{chat.server_port}/"
        made: Any = CustomWebhookNotificationBlock
        block = made(name="chat", url=url, json_data={"text": "{{subject}}\n{{body}}"})
        block_id = block.save(f"chat-{token_hex(4)}")
    files = sorted(AUTOMATIONS.glob("*.yaml"))
    assert [file.stem for file in files] == ["failed", "published", "rejects", "verification-failed"]
    before = {automation["id"] for automation in api.every("automations")}
    for file in files:
        ready = tmp_path / file.name
        ready.write_text(file.read_text().replace(NO_BLOCK, str(block_id)))
        done = prefect(prefect_api, "automation", "create", "--from-file", str(ready))
        assert done.returncode == 0, done.stdout + done.stderr
    try:
        failed, published = f"bad-{token_hex(4)}", f"good-{token_hex(4)}"
        assert operator.firelift("migrate", "--migration-id", failed).code == 4
        assert operator.firelift("migrate", "--migration-id", published, "--max-rejects", "1").code == 0
        ours = [
            f"{failed} failed",
            f"{failed} did not pass its verification",
            f"{published} is published",
            f"{published} is published without some documents",
        ]
        eventually(120, lambda: all(any(text in message for message in chat.messages) for text in ours))
        assert any("1 rejected" in message for message in chat.messages)
    finally:
        for automation in api.every("automations"):
            if automation["id"] not in before:
                api.client.delete(f"/automations/{automation['id']}").raise_for_status()
