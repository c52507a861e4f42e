"""Access tokens that expire while a database is read."""

from __future__ import annotations

import json
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
from firelift.local.firestore_server.rules.access import ValidTokens
from firelift.local.firestore_server.rules.streams import Distance, StreamsOf
from firelift.local.firestore_server.server import FirestoreServer, Rule
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.writer import values

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
    account = {"type": "service_account", "project_id": "p", "client_email": "reader@example.com", "token_uri": tokens.address}
    file = directory / "account.json"
    file.write_text(json.dumps(account | {"private_key": pem(key).decode(), "private_key_id": "1", "client_id": "1"}))
    database = StoredDatabase()
    for number in range(DOCUMENTS):
        database.set(f"users/{number:04}", values({"n": number}))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*map(str, certificate))
    tls.set_alpn_protocols(["h2"])
    trusted = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    # Which certificates are trusted is decided once a process; here it is this one.
    monkeypatch.setattr(grpc, "compute_engine_channel_credentials", lambda tokens: grpc.composite_channel_credentials(trusted, tokens))
    with FirestoreServer(StoredAnswers(database), rules, tls=tls) as server:
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
