"""Files that appear whole under their name, readable by their owner only, and errors that say which place is full.

Some are JSON that says itself what was written: one that was changed since is found when it is read.

The first member of such a file, `sha256_of_rest`, is the digest of all bytes behind it. Whatever a later attempt, `verify` or `rollback`
reads from a run's directory, and acts on, is written so or has its digest in a file that is: chunks, profiles and rejected documents.
It is a guard against accidents and well-meant edits, not against somebody who makes the digest anew.

Without one are files that are only shown: status, log, throughput, reasons, estimate, reports, results of a verification. The status is
written anew every second and read by scripts; a run that goes on shows what it said, and acts on receipts. Of the checkpoint file the
run's name is taken, which is looked up; the count of damages, and a request to stop, can only have something looked at again, or later.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from firelift.errors import ConfigurationError, FireliftError


class DiskFull(FireliftError):
    """The disk is full."""

    recovery = "after_fix"
    remedy = "Free space there, then continue with --resume."


class WorkingDirUnusable(ConfigurationError):
    """The working directory cannot be used."""

    recovery = "after_fix"
    remedy = "Choose another --working-dir or mend this one."


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise DiskFull or WorkingDirUnusable, naming the path, for what the operating system says inside."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=str(path)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise WorkingDirUnusable(path=str(path), reason="it cannot be written") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise WorkingDirUnusable(path=str(path), reason="a file is where a directory is needed") from error
        raise WorkingDirUnusable(path=str(path), reason=error.strerror or str(error)) from error


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name to write to; what was written there becomes `path` in one step when the block ends well."""
    unfinished = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.new")
    with storage_errors(path):
        try:
            yield unfinished
            unfinished.chmod(0o600)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """The text as a file, and the private directories it needs."""
    with storage_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with appearing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # A receipt that is there after a power cut must say something.
        os.fsync(file.fileno())


MEMBER: Final = "sha256_of_rest"
_HEAD: Final = re.compile(rb'\{"sha256_of_rest":"([0-9a-f]{64})",?')


class FileChanged(FireliftError):
    """A file of the run was changed after it was written."""

    recovery = "after_fix"
    remedy = (
        "Nothing is done by what it says now. `firelift migrate --resume` makes it again where it can be made again; "
        "where it is named once more, start a new run. Look at the disk and at who else writes there."
    )


def sealed(content: bytes) -> bytes:
    """A JSON object with its own digest as first member."""
    rest = content.removeprefix(b"{")
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"%b":"%b"%b%b' % (MEMBER.encode(), hashlib.sha256(rest).hexdigest().encode(), comma, rest)


def unsealed(content: bytes, file: Path, *, sealed_only: bool = True) -> bytes:
    """The JSON object as it was before it was sealed; raises FileChanged.

    Not `sealed_only`: a file that has no digest, such as the status, is taken as it is.
    """
    head = _HEAD.match(content)
    if head is None:
        if not sealed_only:
            return content
        raise FileChanged(file=str(file), why="it does not begin with its digest, as Firelift writes it")
    rest = content[head.end() :]
    if hashlib.sha256(rest).hexdigest() != head[1].decode():
        raise FileChanged(file=str(file), why="its digest is another one")
    return b"{" + rest


def was_written(file: Path, text: str) -> bool:
    """Whether this text is what the file held when it was written, as its digest tells, whatever it holds now."""
    head = _HEAD.match(file.read_bytes())
    return head is not None and sealed(text.encode()).startswith(head[0])


def write_sealed(file: Path, text: str) -> None:
    """`write_whole`, of a JSON object."""
    write_whole(file, sealed(text.encode()).decode())


def read_sealed(file: Path, *, sealed_only: bool = True) -> bytes:
    """The JSON object that was written; raises FileChanged, and FileNotFoundError where there is none."""
    return unsealed(file.read_bytes(), file, sealed_only=sealed_only)
