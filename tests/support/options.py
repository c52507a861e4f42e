"""docs/options.md and docs/commands.md, made from the settings and the command itself: `python -m tests.support.options` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.testing import CliRunner

from firelift.cli.main import firelift
from firelift.cli.options import markdown_table

DOCS = Path(__file__).parents[2] / "docs"
OPTIONS, COMMANDS = DOCS / "options.md", DOCS / "commands.md"
BEGIN, END = "<!-- options: made by `python -m tests.support.options`, checked by a test -->\n", "<!-- end of options -->"
WIDTH = 140


def with_table(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + markdown_table() + END + rest.partition(END)[2]


def commands_page() -> str:
    """What every command says of itself."""
    runner = CliRunner()
    parts = [
        "# Commands\n\nWhat `firelift <command> --help` says, made by `python -m tests.support.options` and checked by a test. "
        "[options.md](options.md) has the names of the variables.\n"
    ]
    for name in sorted(firelift.list_commands(click.Context(firelift))):
        said = runner.invoke(firelift, [name, "--help"], prog_name="firelift", terminal_width=WIDTH, max_content_width=WIDTH)
        assert said.exit_code == 0, said.output
        parts.append(f"## firelift {name}\n\n```text\n{re.sub(' +$', '', said.output, flags=re.MULTILINE).strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    OPTIONS.write_text(with_table(OPTIONS.read_text()))
    COMMANDS.write_text(commands_page())
