"""The README's table of options, made from the settings: `python -m tests.options` writes it."""

from __future__ import annotations

from pathlib import Path

from firelift.settings import Settings, environment_names, option_name

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- options: made by `python -m tests.options`, checked by a test -->\n", "<!-- end of options -->"


def table() -> str:
    rows = ["| Option | Environment | Meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        variables = ", ".join(f"`{variable}`" for variable in environment_names(name))
        rows.append(f"| `{option_name(name)}` | {variables} | {field.description} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
