"""JSON files that say themselves what was written to them: one that was changed since is found when it is read.

The first member of such a file, `sha256_of_rest`, is the digest of all bytes behind it. Whatever a later attempt, `verify` or `rollback`
reads from a run's directory, and acts on, is written so or has its digest in a file that is: chunks, profiles and rejected documents.
It is a guard against accidents and well-meant edits, not against somebody who makes the digest anew.

Without one are files that are only shown: status, log, throughput, reasons, estimate, reports, results of a verification. The status is
written anew every second and read by scripts; a run that goes on shows what it said, and acts on receipts. Of the checkpoint file the
run's name is taken, which is looked up; the count of damages, and a request to stop, can only have something looked at again, or later.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from firelift.errors import FireliftError
from firelift.files import write_whole

MEMBER: Final = "sha256_of_rest"
_HEAD: Final = re.compile(rb'\{"sha256_of_rest":"([0-9a-f]{64})",?')


class FileChanged(FireliftError):
    """A file of the run was changed after it was written."""

    mendable = True
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

    Not `sealed_only`: what has no digest, as files of earlier versions, is taken as it is.
    """
    head = _HEAD.match(content)
    if head is None:
        if not sealed_only:
            return content
        raise FileChanged(file=str(file), why="it does not begin with its digest, as this version writes it")
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
