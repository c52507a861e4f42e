"""No room in the working directory, and a target that takes no writes: one clear line, and a resume when it is mended."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.faults.gateway import Gateway
from tests.faults.migrating import Ground, Place, Undisturbed, differences
from tests.faults.test_network import rows


@contextmanager
def small_disk(directory: Path, kilobytes: int) -> Iterator[None]:
    """A file system of this size in a directory; skips the test where nobody may mount one."""
    directory.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def enlarge(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(directory)], check=True)


@pytest.mark.parametrize("kilobytes", [4, 24, 48, 96, 192, 384, 768, 1536])
def test_the_working_directory_is_full(ground: Ground, undisturbed: Undisturbed, kilobytes: int) -> None:
    with ground.place() as place, small_disk(place.workspace, kilobytes):
        before = place.content()
        said = place.migrate()
        assert said.code == 1, said.err
        assert said.error.startswith("error: "), said.err
        assert "No space left" in said.error, said.err
        assert "Traceback" not in said.err
        assert rows(place.content()) == rows(before)
        enlarge(place.workspace)
        resumed(place, undisturbed)


SWITCHES = {
    "database": "ALTER DATABASE {database} {change} default_transaction_read_only",
    "role": "ALTER ROLE {role} IN DATABASE {database} {change} default_transaction_read_only",
}


def switch(url: str, whose: str, change: str) -> None:
    """Makes a target read-only, or with RESET writable again, for every connection from now on."""
    parts = urlsplit(url)
    names = {"database": sql.Identifier(parts.path[1:]), "role": sql.Identifier(parts.username or "")}
    statement = sql.SQL(SWITCHES[whose]).format(change=sql.SQL(change), **names)
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(statement + sql.SQL(" = on" if change == "SET" else ""))


def test_the_target_is_read_only_from_the_beginning(ground: Ground, undisturbed: Undisturbed) -> None:
    with ground.place() as place:
        switch(place.url, "role", "SET")
        before = place.content()
        said = place.migrate()
        assert said.code == 1, said.err
        assert "The target accepts no writes at present" in said.error, said.err
        assert place.content() == before
        switch(place.url, "role", "RESET")
        resumed(place, undisturbed)


@pytest.mark.parametrize("whose", SWITCHES)
def test_the_target_becomes_read_only_in_mid_run(ground: Ground, front: Gateway, undisturbed: Undisturbed, whose: str) -> None:
    with ground.place() as place:
        before = place.content()
        with front.held("RunQuery", after=20) as reached:
            started = place.start()
            started.until(reached.is_set)
            switch(place.url, whose, "SET")
        said = started.wait()
        assert said.code == 1, said.err
        assert "The target accepts no writes at present" in said.error, said.err
        assert "Traceback" not in said.err
        assert rows(place.content()) == rows(before)
        switch(place.url, whose, "RESET")
        resumed(place, undisturbed)


def resumed(place: Place, undisturbed: Undisturbed) -> None:
    said = place.migrate(*(["--resume"] if place.status() else []))
    assert said.code == 0, said.err
    assert differences(place.content(), undisturbed.content) == []
