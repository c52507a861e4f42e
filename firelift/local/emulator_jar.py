"""Fetches the Firestore emulator's jar, once a user, for a machine that has none."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import httpx

from firelift.errors import FireliftError

VARIABLE = "FIRESTORE_EMULATOR_JAR_URL"
SHA256 = "9d43599ed6151199e8d604dc87fac51218e49e5f3a48519b1ae560bbe5e3382d"
# The newest that runs on Java 11.
ADDRESS = "https://storage.googleapis.com/firebase-preview-drop/emulator/cloud-firestore-emulator-v1.19.8.jar"
PATIENCE = httpx.Timeout(30, connect=15)


class EmulatorNotFound(FireliftError):
    """There is no Firestore emulator on this machine."""

    exit_code = 2
    remedy = (
        "Point FIRESTORE_EMULATOR_HOST at one that runs, or FIRESTORE_EMULATOR_JAR at its jar, or install one with "
        "`gcloud components install cloud-firestore-emulator` or `npx firebase-tools setup:emulators:firestore`."
    )


class EmulatorNotFetched(EmulatorNotFound):
    """There is no Firestore emulator on this machine, and it could not be fetched."""

    remedy = f"Set HTTPS_PROXY if a proxy leads there, or {VARIABLE} to an address of your own. {EmulatorNotFound.remedy}"


class WrongChecksum(EmulatorNotFound):
    """The fetched file is not the expected Firestore emulator: its checksum differs, and it was not kept."""

    remedy = f"Name the expected one in {VARIABLE}, as in https://…/emulator.jar#sha256=<64 hex digits>. {EmulatorNotFound.remedy}"


@dataclass(frozen=True)
class Wanted:
    """A jar by its address and its checksum."""

    address: str
    sha256: str

    @property
    def shown(self) -> str:
        """The address without a password or token that may be in it."""
        parts = urlsplit(self.address)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def fetched_jar() -> Path:
    """The jar that FIRESTORE_EMULATOR_JAR_URL names, else the one we know, from the user's cache or else from its address."""
    wanted = wanted_jar(os.environ.get(VARIABLE))
    try:
        with _cache_locked() as cache:
            if not (jar := _jar_in(cache, wanted)).is_file() or _sha256_of(jar) != wanted.sha256:
                _fetch(wanted, jar)
            return jar
    except OSError as error:
        raise EmulatorNotFetched(cache=str(cache_directory()), because=error.strerror or str(error)) from error


def cached_jar() -> Path | None:
    """The same if it has been fetched already."""
    wanted = wanted_jar(os.environ.get(VARIABLE))
    jar = _jar_in(cache_directory(), wanted)
    return jar if jar.is_file() and _sha256_of(jar) == wanted.sha256 else None


def _jar_in(cache: Path, wanted: Wanted) -> Path:
    return cache / f"cloud-firestore-emulator-{wanted.sha256[:16]}.jar"


def wanted_jar(named: str | None) -> Wanted:
    """`address#sha256=…`; without a checksum it is a copy of the one we know."""
    address, fragment = urldefrag(named or ADDRESS)
    wanted = Wanted(address, fragment.removeprefix("sha256=").lower() or SHA256)
    if not re.fullmatch("[0-9a-f]{64}", wanted.sha256):
        raise EmulatorNotFetched(address=wanted.shown, because="what follows # is not sha256= and 64 hex digits")
    return wanted


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "firelift"


@contextmanager
def _cache_locked() -> Iterator[Path]:
    """The user's cache, for one process at a time: whoever waited finds what the other one fetched."""
    cache = cache_directory()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache.chmod(0o700)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def _fetch(wanted: Wanted, jar: Path) -> None:
    """Writes the jar, which appears when it is whole and is what it should be."""
    print(f"fetching the Firestore emulator, once, from {wanted.shown} ...", file=sys.stderr)
    partial = jar.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    try:
        found = _download(wanted, partial)
        if found != wanted.sha256:
            raise WrongChecksum(address=wanted.shown, expected_sha256=wanted.sha256, found=found)
        partial.replace(jar)
    finally:
        partial.unlink(missing_ok=True)


def _download(wanted: Wanted, partial: Path) -> str:
    """Writes what the address holds, for the owner's eyes; its checksum. Proxies are those of the environment."""
    digest = hashlib.sha256()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in _pieces(wanted):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _pieces(wanted: Wanted) -> Iterator[bytes]:
    try:
        with httpx.Client(follow_redirects=True, timeout=PATIENCE) as client, client.stream("GET", wanted.address) as answer:
            if answer.status_code != httpx.codes.OK:
                raise EmulatorNotFetched(address=wanted.shown, because=f"HTTP {answer.status_code} {answer.reason_phrase}")
            yield from answer.iter_bytes()
    # A proxy's address that is none is a ValueError, one of a kind that needs another package an ImportError.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
        raise EmulatorNotFetched(address=wanted.shown, because=str(error) or type(error).__name__) from error


def _sha256_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
