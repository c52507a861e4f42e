"""Words that cannot rot: the pages and the runbook say what the program says."""

from __future__ import annotations

import ast
import re

from firelift.formatting import counted
from tests.support.options import COMMANDS, DOCS, OPTIONS, commands_page, with_table


def test_one_row_is_one_row() -> None:
    assert [counted(number, "row") for number in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]


def test_the_page_of_options_is_made_from_the_settings() -> None:
    assert OPTIONS.read_text() == with_table(OPTIONS.read_text())


def test_the_page_of_commands_says_what_the_commands_say() -> None:
    assert COMMANDS.read_text() == commands_page()


def said_by_firelift() -> str:
    """Every text in the program, one a line: docstrings, which are the messages of errors, and the texts of warnings and problems."""
    texts = []
    for folder in ("firelift", "tasks", "flows", "expectations"):
        for file in sorted((DOCS.parent / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                texts.append("…".join(part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)))
    return "\n".join(" ".join(text.split()) for text in texts)


def test_every_message_in_the_runbook_is_one_that_firelift_says() -> None:
    runbook, texts = (DOCS / "operations.md").read_text(), said_by_firelift()
    tables = re.findall(r"^\| Message \|.*?\n((?:\|.*\n)+)", runbook, re.MULTILINE)
    first_cells = [line.split(" | ")[0] for table in tables for line in table.splitlines()[1:]]
    messages = [span for cell in first_cells for span in re.findall(r"`([^`]+)`", cell) if " " in span and not span.startswith("--")]
    assert len(messages) > 40
    assert [message for message in messages if not all(part.strip() in texts for part in message.split("…"))] == []
