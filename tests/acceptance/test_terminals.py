"""A shell whose locale knows nothing but ASCII, over documents whose names are not: every command works and prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from firelift.firestore.channel import Source
from tests.support.command_line import ONE_WORKER, Operator
from tests.support.prefect_servers import tables_of
from tests.support.whole_way import Things, new_source, write

# Python would take UTF-8 for the locale C by itself; it does not for others, such as de_DE.ISO-8859-1.
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
CITIES: Things = {
    "städte/Zürich": {"größe": 421_878, "名前": "Zürich"},
    "städte/東京": {"größe": 14_000_000.5, "名前": ["東京", "とうきょう"]},
    "städte/東京/straßen/銀座": {"länge": 1.1},
}


@pytest.fixture
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, CITIES)
        yield source


@pytest.fixture
def operator(source: Source, tmp_path: Path, prefect_api: str, database_url: str) -> Operator:
    assert source.emulator_host
    given = {"FIRESTORE_EMULATOR_HOST": source.emulator_host, "GOOGLE_CLOUD_PROJECT": source.project}
    return Operator(tmp_path, {**ONE_WORKER, **ASCII, **given, "PREFECT_API_URL": prefect_api, "DATABASE_URL": database_url})


MAPPING = {"collections": {"städte": {"columns": {"größe": "einwohner_größe"}}}}
COMMANDS = {
    "plan --mapping mapping.json": "\\u540d\\u524d",
    "migrate --mapping mapping.json": "3 documents",
    "status --watch": "completed, 100 %",
    "status --json": "completed",
    "verify --verification-level comprehensive": "3 of 3 documents",
    "verify --against firestore --json": "st\\u00e4dte",
    "rollback": "st\\xe4dte",
}


def test_every_command_does_its_work_and_escapes_what_cannot_be_printed(operator: Operator, database_url: str) -> None:
    operator.here.mkdir(parents=True)
    (operator.here / "mapping.json").write_text(json.dumps(MAPPING, ensure_ascii=False), encoding="utf-8")
    for command, words in COMMANDS.items():
        said = operator.firelift(*command.split())
        assert said.code == 0, said.err
        assert words in said.out
        assert (said.out + said.err).isascii()
    assert tables_of(database_url) == {}


def test_an_increment_goes_on_with_what_was_written_down_in_other_letters(operator: Operator, source: Source, database_url: str) -> None:
    assert operator.firelift("migrate").code == 0
    write(source, {"städte/Łódź": {"größe": 670_642}})
    said = operator.firelift("migrate", "--migration-mode", "incremental")
    assert said.code == 0, said.err
    assert tables_of(database_url) == {"städte": 3, "städte_straßen": 1}
