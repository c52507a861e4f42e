"""The README's table of options, made from the settings: `python -m tests.support.options` writes it."""

from __future__ import annotations

from pathlib import Path

from firelift.cli.options import markdown_table

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- options: made by `python -m tests.support.options`, checked by a test -->\n", "<!-- end of options -->"


def with_table(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + markdown_table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
