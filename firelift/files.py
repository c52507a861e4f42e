"""Files that appear complete under their name, readable by their owner only, and errors that name the place that is full.

Some are JSON files that begin with their own digest, so that a later change is noticed when they are read.

The first member of such a file, `sha256_of_rest`, is the digest of all bytes after it. Everything that a later attempt, `verify` or
`rollback` reads from a run's directory and acts on is written this way, or has its digest in a file that is: chunks, profiles and rejected
documents. This guards against accidents and well-meant edits, not against somebody who computes the digest again.

Files that are only shown have no digest: status, log, throughput, reasons, estimate, reports, results of a verification. The status is
rewritten every second and read by scripts; a resumed run shows it, and acts on receipts. From the checkpoint file only the run's name is
used, which is then looked up. The count of damages and a request to stop can at most cause a second look, or a delay.
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
    remedy = "Choose another --working-dir or repair this one."


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raises DiskFull or WorkingDirUnusable, with the path, for errors of the operating system inside the block."""
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
    """A temporary name to write to; the file becomes `path` in one step when the block ends without an error."""
    unfinished = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.new")
    with storage_errors(path):
        try:
            yield unfinished
            unfinished.chmod(0o600)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes the text as a file, and makes the private directories it needs."""
    with storage_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with appearing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # Without this, a receipt may be empty after a power cut.
        os.fsync(file.fileno())


MEMBER: Final = "sha256_of_rest"
SEAL: Final = b'{"sha256_of_rest":'
"""How a sealed file begins."""
_HEAD: Final = re.compile(rb'\{"sha256_of_rest":"([0-9a-f]{64})",?')


class FileChanged(FireliftError):
    """A file of the run was changed after it was written."""

    recovery = "after_fix"
    remedy = (
        "Firelift does not use its present content. `firelift migrate --resume` makes the file again where that is possible; "
        "if the same file is named once more, start a new run. Check the disk, and who else writes there."
    )


def sealed(content: bytes) -> bytes:
    """A JSON object with its own digest as first member."""
    rest = content.removeprefix(b"{")
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"%b":"%b"%b%b' % (MEMBER.encode(), hashlib.sha256(rest).hexdigest().encode(), comma, rest)


def unsealed(content: bytes, file: Path, *, sealed_only: bool = True) -> bytes:
    """The JSON object as it was before it was sealed; raises FileChanged.

    Without `sealed_only`, a file that has no digest, such as the status, is accepted as it is.
    """
    head = _HEAD.match(content)
    if head is None:
        if not sealed_only:
            return content
        raise FileChanged(file=str(file), why="it does not begin with its digest, as Firelift writes it")
    rest = content[head.end() :]
    if hashlib.sha256(rest).hexdigest() != head[1].decode():
        raise FileChanged(file=str(file), why="its content does not match its digest")
    return b"{" + rest


def was_written(file: Path, text: str) -> bool:
    """Whether the file held this text when it was written, judged by its digest and not by its present content."""
    head = _HEAD.match(file.read_bytes())
    return head is not None and sealed(text.encode()).startswith(head[0])


def write_sealed(file: Path, text: str) -> None:
    """Like `write_whole`, for a JSON object, which gets its digest."""
    write_whole(file, sealed(text.encode()).decode())


def read_sealed(file: Path, *, sealed_only: bool = True) -> bytes:
    """The JSON object that was written; raises FileChanged, and FileNotFoundError where there is none."""
    return unsealed(file.read_bytes(), file, sealed_only=sealed_only)
