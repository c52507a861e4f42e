"""The connection to one Firestore database: credentials, channel and raw calls."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.experimental

from firelift.firestore import errors

SERVICE = "/google.firestore.v1.Firestore/"
SCOPE = "https://www.googleapis.com/auth/datastore"
HOST = "firestore.googleapis.com:443"

# One thread reads a response stream instead of two that hand every message over: on 100 000 documents of 570 bytes
# 7 µs of CPU a document instead of 34, and half the time (grpcio 1.85).
OPTIONS = [
    (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # With gRPC's own 20 s for the answer, a dead connection is noticed within a minute.
    ("grpc.keepalive_time_ms", 30_000),
]
# An emulator is local, so it is not reached through http_proxy and the like.
DIRECT = [*OPTIONS, ("grpc.enable_http_proxy", 0)]

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """The database that has the documents, in plain picklable values: every process opens its own channel from it."""

    project: str
    database: str = "(default)"
    service_account: str | None = None
    emulator_host: str | None = None

    @property
    def name(self) -> str:
        """The resource name of the database."""
        return f"projects/{self.project}/databases/{self.database}"

    @property
    def root(self) -> str:
        return self.name + "/documents"


class Firestore:
    """An open channel to one database. Requests and responses are serialized protobuf messages."""

    # Keepalive notices a dead connection; only these notice a server that is there but has lost our stream.
    longest_stream: float = 600
    longest_silence: float = 120
    """Seconds without a message. Firestore's own limit for a query is 60."""

    def __init__(self, source: Source, channel: grpc.Channel, credentials: Any = None) -> None:
        self.source = source
        self._channel, self._credentials = channel, credentials
        self._metadata = [
            ("google-cloud-resource-prefix", source.name),
            ("x-goog-request-params", f"project_id={source.project}&database_id={source.database}"),
        ]
        if source.emulator_host:
            # The emulator takes this for an administrator: security rules do not apply, as with a service account.
            self._metadata.append(("authorization", "Bearer owner"))

    @property
    def pace(self) -> Pace:
        return pace_of(self.source)

    def reach(self, seconds: float = 8) -> None:
        """Raises within `seconds` where the credentials are refused or nothing answers; other calls wait longer."""
        if self._credentials is not None:
            _refresh(self._credentials, self.source)
        try:
            grpc.channel_ready_future(self._channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            self._raise_reason()

    def _raise_reason(self) -> None:
        call = self._channel.unary_unary(SERVICE + "ListDocuments", request_serializer=None, response_deserializer=None)
        try:
            call(b"", metadata=self._metadata, timeout=1)
        except grpc.RpcError as error:
            if errors.is_passing(error):
                raise errors.translate(error, self.source.name, self.source.emulator_host) from error

    def stream(self, method: str, request: bytes) -> Iterator[bytes]:
        """The messages of a server stream; raises grpc.RpcError as it comes, DEADLINE_EXCEEDED after `longest_stream` seconds.

        Raises Silent after `longest_silence` seconds without a message.
        """
        call = self._channel.unary_stream(SERVICE + method, request_serializer=None, response_deserializer=None)
        return unless_silent(call(request, metadata=self._metadata, timeout=self.longest_stream), self.longest_silence)

    def collect(self, method: str, request: bytes, timeout: float = 120, final: Collection[grpc.StatusCode] = ()) -> list[bytes]:
        """All messages of a short server stream; raises errors of Firestore as our own, those in `final` without another attempt."""
        call = self._channel.unary_stream(SERVICE + method, request_serializer=None, response_deserializer=None)
        return self._attempt(lambda: list(call(request, metadata=self._metadata, timeout=timeout)), final)

    def call(self, method: str, request: bytes, timeout: float = 60) -> bytes:
        """The answer of a unary call; raises errors of Firestore as our own."""
        unary = self._channel.unary_unary(SERVICE + method, request_serializer=None, response_deserializer=None)
        answer: bytes = self._attempt(lambda: unary(request, metadata=self._metadata, timeout=timeout))
        return answer

    def broke(self, error: grpc.RpcError) -> str:
        """Why a stream broke, in words; slows the reading down where Firestore says that this is too fast for it."""
        why = f"{error.code().name}: {error.details()}"
        limit = self.pace.slow_down() if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else None
        return why if limit is None else f"{why} (reading at most {limit:,.0f} documents a second from here)"

    def renew(self, error: grpc.RpcError) -> bool:
        """Fetches a new token where Firestore refuses the one it was given, which may have expired meanwhile. False without credentials."""
        if error.code() is not grpc.StatusCode.UNAUTHENTICATED or self._credentials is None:
            return False
        _refresh(self._credentials, self.source)
        return True

    def _attempt(self, act: Callable[[], T], final: Collection[grpc.StatusCode] = ()) -> T:
        backoff, renewed = Backoff(4), False
        while True:
            try:
                return act()
            except grpc.RpcError as error:
                if not renewed and self.renew(error):
                    renewed = True
                    continue
                if error.code() in final or not (errors.is_passing(error) and backoff.wait()):
                    raise errors.translate(error, self.source.name, self.source.emulator_host) from error

    def close(self) -> None:
        self._channel.close()


class Silent(grpc.RpcError):  # type: ignore[misc]
    """A stream that brought no message for too long, as gRPC would say it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._seconds = seconds

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self) -> str:
        return f"no message for {self._seconds:g} s"


def unless_silent(call: Any, seconds: float) -> Iterator[bytes]:
    """The call's messages. Whoever takes them may be slow: only the time that the call is waited for counts."""
    seen, waiting, ended, silent = 0, True, threading.Event(), False

    def watch() -> None:
        nonlocal silent
        last = -1
        while not ended.wait(seconds):
            if waiting and seen == last:
                silent = True
                call.cancel()
                return
            last = seen if waiting else -1

    threading.Thread(target=watch, name="firestore-silence", daemon=True).start()
    try:
        for message in call:
            seen += 1
            waiting = False
            yield message
            waiting = True
    except grpc.RpcError as error:
        if silent:
            raise Silent(seconds) from error
        raise
    finally:
        ended.set()
        # Whoever stops before its end leaves nothing running.
        call.cancel()


class Backoff:
    """Waits longer and longer between attempts, with jitter, and gives up after `attempts` failures in a row."""

    def __init__(self, attempts: int = 8, first: float = 0.25, longest: float = 30.0) -> None:
        self.attempts, self.first, self.longest = attempts, first, longest
        self.failed = 0

    def wait(self) -> bool:
        """Sleeps before the next attempt; False when no attempt is left."""
        self.failed += 1
        if self.failed >= self.attempts:
            return False
        time.sleep(random.uniform(0.5, 1.0) * min(self.longest, self.first * 2 ** (self.failed - 1)))
        return True


class Pace:
    """How many documents a second this process reads: as many as come, until Firestore says RESOURCE_EXHAUSTED.

    Then half of what it had been, but at least 500, and half as much again every five minutes: the 500/50/5 rule of
    https://firebase.google.com/docs/firestore/best-practices#ramping_up_traffic.
    """

    least, growth, period, window, longest_pause = 500.0, 1.5, 300.0, 10.0, 1.0

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock, self._sleep, self._lock = clock, sleep, threading.Lock()
        self._limit: float | None = None
        self._limited_since = self._due = self._last = clock()
        self._read, self._seconds = 0, 0.0
        """Of the present window, without pauses."""
        self._before = 0.0
        """Documents a second of the last whole window."""

    def took(self, documents: int) -> None:
        """Waits as long as it takes for so many documents not to have come too fast."""
        with self._lock:
            now = self._clock()
            self._read += documents
            self._seconds += min(now - self._last, self.longest_pause)
            self._last = now
            if self._seconds >= self.window:
                self._before, self._seconds, self._read = self._read / self._seconds, 0.0, 0
            if self._limit is not None:
                # A pause is not made up for.
                self._due = max(self._due + documents / self._present_limit(now), now)
            wait = self._due - now if self._limit is not None else 0.0
        if wait > 0:
            self._sleep(wait)

    def slow_down(self) -> float | None:
        """Reads half as fast from now on; returns the limit, documents a second, None where nothing was read since the last time."""
        with self._lock:
            now = self._clock()
            seen = self._before or self._read / max(self._seconds, 1.0)
            if seen:
                self._limit, self._limited_since, self._due = max(self.least, seen / 2), now, now
                self._seconds, self._read, self._before = 0.0, 0, 0.0
            return self._limit if seen else None

    def _present_limit(self, now: float) -> float:
        assert self._limit is not None
        return self._limit * self.growth ** min(int((now - self._limited_since) / self.period), 100)


@cache
def pace_of(source: Source) -> Pace:
    """The pace at which this process reads a database, over whatever channel."""
    return Pace()


def open_firestore(source: Source) -> Firestore:
    """A channel with the credentials of `source`: the emulator, a service account file or application default ones."""
    if source.emulator_host:
        return Firestore(source, grpc.insecure_channel(source.emulator_host, options=DIRECT))
    from google.api_core import grpc_helpers

    credentials = _credentials(source)
    return Firestore(source, grpc_helpers.create_channel(HOST, credentials=credentials, options=OPTIONS), credentials)


def project_of(service_account: str | None) -> str | None:
    """The project a service account file belongs to, or the one of the application default credentials."""
    if service_account:
        return str(_key_file(service_account).get("project_id") or "") or None
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        return google.auth.default(scopes=[SCOPE])[1] or None
    except GoogleAuthError:
        return None


def _credentials(source: Source) -> Any:
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import service_account

    try:
        if source.service_account and _key_file(source.service_account).get("type") == "service_account":
            return service_account.Credentials.from_service_account_file(source.service_account, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        if source.service_account:
            return google.auth.load_credentials_from_file(source.service_account, scopes=[SCOPE])[0]  # type: ignore[no-untyped-call]
        return google.auth.default(scopes=[SCOPE])[0]
    except (GoogleAuthError, ValueError) as error:
        if source.service_account:
            # The reason is in our own words where the key itself is wrong, because a library might quote the key.
            reason = str(error.args[0]) if isinstance(error, GoogleAuthError) else "its private key cannot be read"
            raise errors.KeyFileInvalid(file=source.service_account, reason=reason.rstrip(".")) from None
        raise errors.NoCredentials() from None


def _refresh(credentials: Any, source: Source) -> None:
    """Fetches the token that every call needs: Firestore would report its refusal as UNAVAILABLE, again and again."""
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.auth.transport.requests import Request

    try:
        credentials.refresh(Request())
    except TransportError as error:
        raise errors.FirestoreUnreachable(database=source.name, message=str(error.args[0])[:300]) from error
    except GoogleAuthError as error:
        raise errors.CredentialsRefused(database=source.name, message=str(error.args[0])[:300]) from error


def _key_file(path: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.KeyFileUnreadable(file=path, reason=error.strerror) from error
    except (ValueError, RecursionError):
        # Without a cause, because the parser's error has the whole text.
        raise errors.KeyFileInvalid(file=path, reason="it is not JSON") from None
    if not isinstance(content, dict) or "type" not in content:
        raise errors.KeyFileInvalid(file=path, reason="it has no `type`")
    return content
