"""What one call of the command knows, its exit codes, and how it prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from firelift.settings.settings import Settings
from firelift.settings.target import Target

DONE, FAILED, USAGE, STOPPED, UNVERIFIED = 0, 1, 2, 3, 4

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON")


@dataclass
class Session:
    """What one call of the command knows when it comes to printing an error."""

    verbose: bool = False
    secrets: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def load(self, options: dict[str, Any]) -> Settings:
        self.verbose = bool(options.get("verbose"))
        settings = Settings.load(**options)
        self.verbose = settings.verbose
        self.secrets += settings.secrets()
        return settings

    def load_target(self, options: dict[str, Any]) -> Target:
        self.verbose = bool(options.get("verbose"))
        target = Target.load(**options)
        self.verbose = target.verbose
        self.secrets += target.secrets()
        return target


@contextmanager
def printing() -> Iterator[None]:
    """Printing the result: where it cannot be taken, the run is what it is all the same, and so is the exit code."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        # Also nothing for Python's own flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            say(f"warning: the result could not be printed: {error.strerror or error}. It is in the reports.")


def show_result(report: dict[str, Any], as_json: bool, text: str) -> None:
    """Prints a result: the text for people, or the whole as JSON."""
    with printing():
        if as_json:
            print(json.dumps(report, indent=2))
        else:
            print(text, end="")


def say(text: str) -> None:
    """Prints a line on stderr."""
    print(" ".join(text.split()), file=sys.stderr)
