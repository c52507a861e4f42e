"""The directory of a run: private to its owner, every file in it whole at any moment."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firelift.errors import ConfigurationError
from firelift.files import read_sealed, storage_errors
from firelift.settings.types import is_run_name

STATUS, LOG, CHECKPOINT = "migration-status.json", "migration-log.json", "migration-checkpoint.json"
REPORT, SUMMARY, VERIFICATION = "final-migration-report.json", "migration-executive-summary.md", "verification-results"
PAGE, REASONS, ESTIMATE, PLAN_SQL = "migration-report.html", "reasons.json", "estimate.json", "plan.sql"
LATEST = (STATUS, LOG, CHECKPOINT, REPORT, SUMMARY, VERIFICATION)

# Space that is released when the disk is full, so that status and reports can still say so.
_RESERVE, _RESERVE_BYTES = ".reserve", 256 * 1024


class NoSuchRun(ConfigurationError):
    """There is no migration in the working directory."""

    remedy = "Start one with `firelift migrate`, or name the right directory with --working-dir."


class NotOurDirectory(ConfigurationError):
    """A directory of the run is not private to this user, so others could decide what is migrated."""

    remedy = "If you trust its content, make it yours with `chown` and `chmod go-w`; otherwise name another --working-dir."


def new_migration_id(now: datetime | None = None, tail: str | None = None) -> str:
    """A name such as migration-2026-11-22T10-30-00-123Z-abc123; its tail is random unless given."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    tail = tail or "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(6))
    return f"migration-{moment:%Y-%m-%dT%H-%M-%S}-{moment.microsecond // 1000:03d}Z-{tail}"


def catch_up_id(migration_id: str) -> str:
    """The name of the incremental run that follows a full one of this name whose snapshot expired; at most as long as a name may be."""
    return f"{migration_id[:91]}-catch-up"


@dataclass(frozen=True)
class Workspace:
    """The files of one run below a working directory."""

    working_dir: Path
    migration_id: str

    @property
    def run(self) -> Path:
        return self.working_dir / "runs" / self.migration_id

    @property
    def archive(self) -> Path:
        return self.run / "archive"

    @property
    def tables(self) -> Path:
        return self.run / "tables"

    @property
    def rejects(self) -> Path:
        return self.run / "rejects"

    @property
    def verification_results(self) -> Path:
        return self.run / VERIFICATION

    @classmethod
    def latest(cls, working_dir: Path | str) -> Workspace:
        """The last run that was started in a working directory; raises NoSuchRun."""
        root = Path(working_dir)
        try:
            target = Path(os.readlink(root / STATUS))
        except OSError:
            raise NoSuchRun(working_dir=str(root)) from None
        if not is_run_name(target.parent.name):
            raise NoSuchRun(working_dir=str(root))
        return cls(root, target.parent.name)

    @classmethod
    def of(cls, working_dir: Path | str, migration_id: str) -> Workspace:
        """The run of this name, which must be there; raises NoSuchRun."""
        workspace = cls(Path(working_dir), migration_id)
        if not (workspace.run / STATUS).is_file():
            raise NoSuchRun(working_dir=str(working_dir), migration_id=migration_id)
        return workspace

    def create(self) -> Workspace:
        """Make directories, first files and the links to them; what is there stays."""
        self.make_private()
        for path in (self.archive, self.tables, self.rejects, self.verification_results):
            with storage_errors(path):
                _make_private(path)
        self._write_placeholders()
        self._keep_reserve()
        self._link_latest()
        return self

    def write(self, name: str, data: bytes, *, durable: bool = False) -> Path:
        """Make the file appear whole under its name, readable by its owner only; `durable` survives a power cut."""
        path = self.run / name
        with storage_errors(path):
            _replace(path, data, durable=durable)
        return path

    def write_json(self, name: str, data: object, *, durable: bool = False) -> Path:
        return self.write(name, encode(data, indent=2), durable=durable)

    def read_json(self, name: str) -> Any:
        """The file as it is now, or None if there is none; raises FileChanged if it no longer matches its own digest."""
        file = self.run / name
        try:
            return json.loads(read_sealed(file, sealed_only=False))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def status(self) -> dict[str, Any]:
        """The run's status file; raises NoSuchRun."""
        data: dict[str, Any] | None = self.read_json(STATUS)
        if data is None:
            raise NoSuchRun(working_dir=str(self.working_dir), migration_id=self.migration_id)
        return data

    def remove(self, name: str) -> None:
        """Removes a file that is out of date, and the link to it."""
        with suppress(OSError):
            (self.run / name).unlink(missing_ok=True)
        self._unlink_dangling(name)

    def link_page(self) -> None:
        """Links the page for browsers beside the six files of the latest run, if this is it."""
        if self._is_latest() and (self.run / PAGE).exists():
            with storage_errors(self.working_dir / PAGE):
                _replace_link(self.working_dir / PAGE, Path("runs", self.migration_id, PAGE))

    def clear_verification(self) -> None:
        """Removes the results of an earlier attempt, which say nothing about this one."""
        for path in self.verification_results.iterdir():
            with storage_errors(path):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def make_private(self, *names: str) -> Path:
        """A directory below the run's own, for the owner alone, and every one above it that is missing."""
        path = self.run
        for directory in (self.working_dir, self.run.parent, self.run, *(path := path / name for name in names)):
            with storage_errors(directory):
                _make_private(directory, links=directory == self.working_dir)
        return path

    def refuse_others(self) -> None:
        """Raises NotOurDirectory where somebody else made the directories of the run, or may write there: it would obey their files."""
        for directory in (self.working_dir, self.run.parent, self.run):
            with storage_errors(directory), suppress(FileNotFoundError):
                _refuse_others(directory, links=directory == self.working_dir)

    def release_reserve(self) -> None:
        """Release the space reserved for the final write."""
        with suppress(OSError):
            (self.run / _RESERVE).unlink()

    def _write_placeholders(self) -> None:
        running = {"migrationId": self.migration_id, "status": "in_progress"}
        first: Mapping[str, bytes] = {
            STATUS: encode(running),
            LOG: b"[]\n",
            CHECKPOINT: encode({"migrationId": self.migration_id, "lastCompletedPhase": None, "timestamp": None, "migrationState": {}}),
            REPORT: encode(running),
            SUMMARY: f"# Migration {self.migration_id}\n\nIn progress.\n".encode(),
        }
        for name, data in first.items():
            if not (self.run / name).exists():
                self.write(name, data)

    def _keep_reserve(self) -> None:
        if not (self.run / _RESERVE).exists():
            self.write(_RESERVE, bytes(_RESERVE_BYTES))

    def _link_latest(self) -> None:
        for name in LATEST:
            with storage_errors(self.working_dir / name):
                _replace_link(self.working_dir / name, Path("runs", self.migration_id, name))
        self._link_page_or_none()

    def _link_page_or_none(self) -> None:
        """The page is there only when a run is over: the one of the run before must not pass for this one's."""
        self.link_page()
        link = self.working_dir / PAGE
        if link.is_symlink() and os.readlink(link) != str(Path("runs", self.migration_id, PAGE)):
            with suppress(OSError):
                link.unlink()

    def _unlink_dangling(self, name: str) -> None:
        link = self.working_dir / name
        if link.is_symlink() and not link.exists():
            with suppress(OSError):
                link.unlink()

    def _is_latest(self) -> bool:
        try:
            return os.readlink(self.working_dir / STATUS) == str(Path("runs", self.migration_id, STATUS))
        except OSError:
            return False


def encode(data: object, indent: int | None = None) -> bytes:
    """JSON in UTF-8; a lone surrogate, which UTF-8 has no bytes for, as the \\uXXXX that JSON has."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent).encode("utf-8", "backslashreplace") + b"\n"


def _make_private(path: Path, *, links: bool = False) -> None:
    """A directory of mode 0700, whatever the umask.

    One that was there with something in it keeps its mode, and raises NotOurDirectory where others may write to it.
    """
    try:
        path.mkdir(mode=0o700, parents=False)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        there = path.stat()
        if not stat.S_ISDIR(there.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path)) from None
        if path.is_symlink() or there.st_uid != os.geteuid() or any(path.iterdir()):
            _refuse_others(path, links=links)
            return
    path.chmod(0o700)


def _refuse_others(path: Path, *, links: bool) -> None:
    """A working directory may be a link, if we or the system made it; those below it are directories."""
    there, target = path.lstat(), path.stat()
    us, linked = os.geteuid(), stat.S_ISLNK(there.st_mode)
    if linked and not (links and there.st_uid in (us, 0)):
        raise NotOurDirectory(path=str(path), reason=f"it is a link to {os.readlink(path)}")
    if target.st_uid != us:
        raise NotOurDirectory(path=str(path), reason=f"it belongs to user {target.st_uid}, and this is user {us}")
    if target.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotOurDirectory(path=str(path), reason=f"others may write there: its mode is {stat.S_IMODE(target.st_mode):04o}")


def _replace(path: Path, data: bytes, *, durable: bool) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _replace_link(link: Path, target: Path) -> None:
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    new = link.with_name(f".{re.sub('[^a-z]', '', link.name)}.{os.getpid()}-{secrets.token_hex(4)}.link")
    os.symlink(target, new)
    try:
        os.replace(new, link)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
