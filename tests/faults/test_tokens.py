"""Access tokens that expire while a database is read."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from firelift.firestore import channel
from firelift.firestore.channel import Firestore, Source
from firelift.firestore.errors import FirestoreDenied
from firelift.firestore.query import KeyRange, count, server_time
from firelift.firestore.stream import read_documents
from firelift.local.firestore_server.passthrough import EmulatorAnswers
from firelift.local.firestore_server.rules.access import ValidTokens
from firelift.local.firestore_server.rules.streams import Distance, StreamsOf
from firelift.local.firestore_server.server import FirestoreServer, Rule
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.writer import values
from tests.support.migrating import SOAK, Ground, Undisturbed, differences
from tests.support.prefect_servers import CHECKOUT

DOCUMENTS = 300


@dataclass
class Tokens:
    """Issues tokens that are valid for so many seconds, for whoever asks."""

    seconds: float
    issued: dict[str, float] = field(default_factory=dict)
    address: str = ""

    def issue(self) -> str:
        token = f"token-{len(self.issued)}"
        self.issued[token] = time.monotonic()
        return token

    def is_valid(self, token: str) -> bool:
        return time.monotonic() - self.issued.get(token, -1e9) < self.seconds


@contextmanager
def issuing(tokens: Tokens) -> Iterator[Tokens]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            # It says that they are valid for an hour, as Google's do: nobody renews them before they are refused.
            answer = json.dumps({"access_token": tokens.issue(), "expires_in": 3600, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    tokens.address = f"http://127.0.0.1:{server.server_port}/token"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@pytest.fixture(scope="module")
def certificate(key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, in files."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(pem(key))
    return files


def account_file(tokens: Tokens, key: rsa.RSAPrivateKey, directory: Path) -> Path:
    """The key of a service account that gets its tokens there."""
    account = {"type": "service_account", "project_id": "p", "client_email": "reader@example.com", "token_uri": tokens.address}
    file = directory / "account.json"
    file.write_text(json.dumps(account | {"private_key": pem(key).decode(), "private_key_id": "1", "client_id": "1"}))
    return file


def encrypted(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*map(str, certificate))
    tls.set_alpn_protocols(["h2"])
    return tls


@contextmanager
def guarded(
    tokens: Tokens,
    rules: list[Rule],
    key: rsa.RSAPrivateKey,
    certificate: tuple[Path, Path],
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Firestore]:
    """A Firestore behind TLS that a service account reads, as `open_firestore` opens it."""
    file = account_file(tokens, key, directory)
    database = StoredDatabase()
    for number in range(DOCUMENTS):
        database.set(f"users/{number:04}", values({"n": number}))
    trusted = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    # Which certificates are trusted is decided once a process; here it is this one.
    monkeypatch.setattr(grpc, "compute_engine_channel_credentials", lambda tokens: grpc.composite_channel_credentials(trusted, tokens))
    with FirestoreServer(StoredAnswers(database), rules, tls=encrypted(certificate)) as server:
        monkeypatch.setattr(channel, "HOST", server.address)
        firestore = channel.open_firestore(Source("p", service_account=str(file)))
        try:
            yield firestore
        finally:
            firestore.close()


@pytest.mark.parametrize("ends_streams", [False, True], ids=["between streams", "and end them"])
def test_tokens_that_expire_are_renewed_and_nothing_is_lost(
    ends_streams: bool,
    key: rsa.RSAPrivateKey,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with issuing(Tokens(0.4)) as tokens:
        rules: list[Rule] = [ValidTokens(tokens.is_valid, ends_streams), StreamsOf(100), Distance(0, 200)]
        with guarded(tokens, rules, key, certificate, tmp_path, monkeypatch) as firestore:
            reasons: list[str] = []
            moment = server_time(firestore)
            read = [path for path, _ in read_documents(firestore, KeyRange(), moment, None, DOCUMENTS, reasons.append)]
            assert read == [f"users/{number:04}" for number in range(DOCUMENTS)]
            assert len(tokens.issued) > 2
            assert "UNAUTHENTICATED" in " ".join(reasons)
            time.sleep(0.5)
            assert count(firestore, KeyRange(), moment) == DOCUMENTS


def test_a_token_that_is_refused_although_it_is_new_is_an_error(
    key: rsa.RSAPrivateKey, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        issuing(Tokens(-1)) as tokens,
        guarded(tokens, [ValidTokens(tokens.is_valid)], key, certificate, tmp_path, monkeypatch) as firestore,
    ):
        with pytest.raises(FirestoreDenied, match="invalid authentication credentials"):
            list(read_documents(firestore, KeyRange(), "2026-01-01T00:00:00Z", None, None, print))
        assert len(tokens.issued) == 2


# Every interpreter that a run starts reads from the Firestore here in place of Google's.
SITE = """
import os

from firelift.firestore import channel

channel.HOST = os.environ["FIRELIFT_TEST_HOST"]
"""


@pytest.mark.parametrize("ends_streams", [True] if not SOAK else [False, True])
def test_a_migration_whose_tokens_expire_killed_and_resumed_comes_to_the_same_target(
    ends_streams: bool,
    key: rsa.RSAPrivateKey,
    certificate: tuple[Path, Path],
    ground: Ground,
    undisturbed: Undisturbed,
    emulator_host: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    with issuing(Tokens(1)) as tokens, ground.place() as place:
        rules: list[Rule] = [ValidTokens(tokens.is_valid, ends_streams), Distance(0, 300)]
        with FirestoreServer(EmulatorAnswers(emulator_host), rules, tls=encrypted(certificate)) as server:
            far = place.with_(
                FIRESTORE_EMULATOR_HOST=None,
                GOOGLE_APPLICATION_CREDENTIALS=str(account_file(tokens, key, tmp_path)),
                GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(certificate[0]),
                FIRELIFT_TEST_HOST=server.address,
                PYTHONPATH=f"{tmp_path}{os.pathsep}{CHECKOUT}",
            )
            started = far.start()
            started.until(lambda: place.archived().documents >= 100)
            started.kill()
            before = place.archived()
            said = far.migrate("--resume")
        assert said.code == 0, said.err
        assert before.files.items() <= place.archived().files.items()
        assert len(tokens.issued) > 4
        assert differences(place.content(), undisturbed.content) == []
