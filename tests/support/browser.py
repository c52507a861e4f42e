"""A headless browser that opens pages from disk and reaches no network: what a reader without a connection sees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Root in a container has no sandbox and little /dev/shm; every host name is unknown, and the browser's own calls home are off.
ALONE = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--v=0",
)
_CONSOLE = re.compile(r":CONSOLE[:(]\d+\)?\] (.*)")
# A link that a reader may click on (<a href>) loads nothing by itself.
_LOADS = re.compile(
    r"""<(?!a\b)[^>]*?\b(?:src|href|action)\s*=\s*["']\s*((?:https?:)?//[^"']+)|@import\s+(\S+)|url\(["']?((?:https?:)?//[^)"']+)""", re.I
)


@dataclass(frozen=True)
class Seen:
    """A page after its scripts have run."""

    dom: str
    console: tuple[str, ...]
    """What the page said to the console: errors, and files it asked for in vain."""

    @property
    def text(self) -> str:
        """What a reader reads: no tags, no scripts, single spaces."""
        shown = re.sub(r"<(script|style)\b.*?</\1>", " ", self.dom, flags=re.S | re.I)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())

    @property
    def loads(self) -> list[str]:
        """Addresses in the network that the page would load something from."""
        return [next(filter(None, found)) for found in _LOADS.findall(self.dom)]


@dataclass(frozen=True)
class Browser:
    program: str
    profile: Path

    def see(self, page: Path, *, wait_ms: int = 10_000) -> Seen:
        """The page at file://; `wait_ms` is virtual time for its scripts, not ours."""
        done = self._run(page, "--dump-dom", f"--virtual-time-budget={wait_ms}")
        return Seen(done.stdout, tuple(_CONSOLE.findall(done.stderr)))

    def picture(self, page: Path, to: Path, *, width: int = 1280, height: int = 1600) -> Path:
        """A screenshot, for people."""
        self._run(page, f"--screenshot={to}", f"--window-size={width},{height}", "--hide-scrollbars")
        return to

    def _run(self, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [self.program, *ALONE, f"--user-data-dir={self.profile}", *options, page.resolve().as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)


def find_browser() -> str:
    """A Chromium or Chrome on PATH; CI gets Debian's where it has none, and fails without one. Elsewhere the test is skipped."""
    found, in_ci = _on_path(), bool(os.environ.get("CI"))
    if found is None and in_ci and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _on_path()
    if found is None:
        (pytest.fail if in_ci else pytest.skip)(f"no browser: none of {', '.join(PROGRAMS)} is on PATH")
    return found


def _on_path() -> str | None:
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


def _install() -> None:
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run(command, env=quiet, check=False, capture_output=True, timeout=900)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """`from tests.support.browser import browser` makes the fixture known to a test module."""
    return Browser(find_browser(), tmp_path_factory.mktemp("browser"))
