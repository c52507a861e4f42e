"""No room in the working directory, and a target that takes no writes: one clear line, and a resume when it is fixed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.faults.test_network import POINTS, rows, server_of, through
from tests.support.gateway import Gateway
from tests.support.migrating import Ground, Place, Undisturbed, differences
from tests.support.proxy import Strike, proxy

NO_ROOM = r"error: The disk is full \(path: .*\)\. Free space there, then continue with --resume\."


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """A file system of this size in a directory; skips the test where nobody may mount one."""
    directory.mkdir(parents=True, exist_ok=True)
    try:
        mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(directory))
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@contextmanager
def filled(directory: Path, kilobytes: int) -> Iterator[None]:
    """No more than so much is free there, until the block ends."""
    filler = directory / "filler"
    with filler.open("wb") as file:
        while (left := _free(directory) - kilobytes * 1024) > 0:
            # Whoever writes there at the same time may have taken some of it.
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, left)
    yield
    filler.unlink()


def _free(directory: Path) -> int:
    place = os.statvfs(directory)
    return place.f_bavail * place.f_frsize


def test_a_disk_that_holds_not_even_a_status(ground: Ground, undisturbed: Undisturbed) -> None:
    with ground.place() as place, small_disk(place.workspace, "4k"):
        before = place.content()
        said = place.migrate()
        assert said.code == 1, said.err
        assert re.fullmatch(NO_ROOM, said.error), said.err
        assert place.content() == before
        mount("-o", "remount,size=64m", str(place.workspace))
        resumed(place, undisturbed)


# Room for nothing more; for a part of the archive; for the archive but not for the tables.
@pytest.mark.parametrize("kilobytes", [0, 100, 300])
def test_the_working_directory_fills_up(ground: Ground, front: Gateway, undisturbed: Undisturbed, kilobytes: int) -> None:
    with ground.place() as place, small_disk(place.workspace, "16m"):
        before = place.content()
        with ExitStack() as stack:
            with front.held("RunQuery", after=20) as reached:
                started = place.start()
                started.until(reached.is_set)
                stack.enter_context(filled(place.workspace, kilobytes))
            said = started.wait()
            assert said.code == 1, said.err
            assert re.fullmatch(NO_ROOM, said.error), said.err
            assert "Traceback" not in said.err
            assert rows(place.content()) == rows(before)
        resumed(place, undisturbed)


def test_the_working_directory_fills_up_while_the_tables_are_published(ground: Ground, undisturbed: Undisturbed) -> None:
    """What is published stays, and the run comes to its end when there is room again."""
    stall = Strike("stall", at=POINTS["publishing"], seconds=2)
    with ground.place() as place, small_disk(place.workspace, "16m"), proxy(server_of(ground.postgres), stall) as slow:
        started = place.with_(SUPABASE_DB_URL=through(slow, place.url)).start()
        started.until(lambda: slow.struck)
        with filled(place.workspace, 0):
            said = started.wait()
            if said.code:
                assert said.code == 1, said.err
                assert re.fullmatch(NO_ROOM, said.error), said.err
            assert rows(place.content()) == rows(undisturbed.content)
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
            started.until(lambda: reached.is_set() and place.state("extraction") == "running")
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
