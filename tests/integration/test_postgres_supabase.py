"""Whether a Supabase project's API address and key are right."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from firelift.errors import FireliftError, Recovery
from firelift.local.server import free_port
from firelift.postgres.schema import supabase


def jwt(role: str, signature: str = "good") -> str:
    head, claims = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, {"role": role}))
    return f"{head}.{claims}.{signature}"


class Gateway(BaseHTTPRequestHandler):
    """Answers like the gateway in front of PostgREST: a key that is not signed by the project is 401."""

    def do_GET(self) -> None:
        key = self.headers["apikey"]
        if self.path == "/rest/v1/" and self.headers["Authorization"] == f"Bearer {key}" and key.endswith("good"):
            return self._answer(200, {})
        if self.path.startswith("/paused"):
            return self._answer(540, {})
        if self.path.startswith("/elsewhere"):
            return self._answer(404, {})
        return self._answer(401, {"message": "Invalid API key"})

    def _answer(self, status: int, body: dict[str, str]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("key", [jwt("service_role"), "sb_secret_good"])
def test_the_projects_own_service_key_passes(gateway: str, key: str) -> None:
    supabase.check_api(gateway, key)
    supabase.check_api(gateway + "/", key)


REFUSED: list[tuple[str, str, type[FireliftError], Recovery]] = [
    ("", jwt("anon"), supabase.PublicKeyGiven, "never"),
    ("", "sb_publishable_good", supabase.PublicKeyGiven, "never"),
    ("", jwt("service_role", "hunter2"), supabase.InvalidApiKey, "never"),
    ("", "hunter2", supabase.InvalidApiKey, "never"),
    ("", "hunter2\n", supabase.InvalidApiKey, "never"),
    ("", "hunter2é", supabase.InvalidApiKey, "never"),
    ("/paused", jwt("service_role"), supabase.SupabaseUnreachable, "automatic"),
    ("/elsewhere", jwt("service_role"), supabase.ApiFailed, "never"),
]


@pytest.mark.parametrize(("path", "key", "kind", "recovery"), REFUSED)
def test_what_is_wrong_has_its_own_error_without_the_key(
    gateway: str, path: str, key: str, kind: type[FireliftError], recovery: Recovery
) -> None:
    with pytest.raises(kind) as caught:
        supabase.check_api(gateway + path, key)
    assert "hunter2" not in f"{caught.value!s}{caught.value.__cause__}"
    assert caught.value.recovery == recovery


def test_a_key_whose_claims_are_nested_too_deeply_says_nothing_of_its_role() -> None:
    assert supabase.role_of(f"eyJ9.{base64.urlsafe_b64encode(b'[' * 200_000).decode()}.x") is None


def test_nobody_answering_is_unreachable() -> None:
    with pytest.raises(supabase.SupabaseUnreachable) as caught:
        supabase.check_api(f"http://127.0.0.1:{free_port()}", "sb_secret_x")
    assert caught.value.recovery == "automatic"


@pytest.mark.parametrize("url", ["", "project.supabase.co", "postgresql://h/db", "http://["])
def test_an_address_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(supabase.InvalidSupabaseUrl):
        supabase.check_api(url, "sb_secret_x")
