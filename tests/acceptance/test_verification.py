"""A target that does not say what Firestore says is found out: before it is published, and whenever somebody asks later."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

import expectations
from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.migration.published.published_runs import NoArchive
from firelift.migration.published.verify_published import verify_published
from firelift.receipts import Verified
from firelift.run.reports.verify_text import verified_text
from firelift.settings.settings import Settings
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification.proof import Against
from tests.support.command_line import CANARY, ONE_WORKER, Operator, Said, holds_nothing
from tests.support.prefect_servers import database, tables_of, text_below, text_of
from tests.support.warm_commands import BY_PREFECT, WITHOUT_PREFECT
from tests.support.whole_way import Things, new_source, write

CITIES: Things = {f"cities/c{n:03}": {"name": f"City {n}", "population": n * 1000, "area": n / 7, "tags": ["a", "b"]} for n in range(60)}
STREETS: Things = {f"cities/c{n:03}/streets/s": {"name": f"Street {n}", "lanes": n % 4} for n in range(0, 60, 2)}
MIXED: Things = {f"people/p{n}": {"age": n if n % 5 else f"{n} years", "nick": None if n == 3 else "x"} for n in range(30)}
EVERYTHING = {**CITIES, **STREETS, **MIXED}


@pytest.fixture(scope="module")
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, EVERYTHING)
        yield source


def somebody(source: Source, url: str, api: str, directory: Path) -> Operator:
    assert source.emulator_host
    given = {"FIRESTORE_EMULATOR_HOST": source.emulator_host, "GOOGLE_CLOUD_PROJECT": source.project}
    return Operator(directory, {**ONE_WORKER, **WITHOUT_PREFECT, **given, "PREFECT_API_URL": api, "SUPABASE_DB_URL": url})


@pytest.fixture
def operator(source: Source, tmp_path: Path, prefect_api: str, database_url: str) -> Operator:
    return somebody(source, database_url, prefect_api, tmp_path)


def result(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "verification.json").read_text())
    return found


def results_of(operator: Operator) -> Path:
    return operator.workspace / "verification-results"


def assert_passed(directory: Path, url: str, level: LevelName) -> None:
    """Everything was compared that the level asks for, and there is all that a person wants to see of it."""
    found = result(directory)
    assert (found["level"], found["passed"], found["differencesTotal"]) == (level, True, 0)
    assert tables_of(url) == {"cities": 60, "cities_streets": 30, "people": 30}
    compared, documents = {table["table"]: table["compared"] for table in found["tables"]}, LEVELS[level].documents
    assert compared == {table: min(documents or rows, rows) for table, rows in tables_of(url).items()}
    assert found["expectations"]
    # How long a lookup takes is the machine's, which may be busy: a warning, and no part of what is claimed here.
    failed = [entry["expectation"] for entry in found["expectations"] if not entry["success"] and entry["severity"] == "critical"]
    assert failed == []
    assert bool(found["performance"]) == (level != "basic")
    assert sum(reread["asked"] for reread in found["rereads"]) == (120 if level == "comprehensive" else 0)
    assert (directory / "data-docs" / "index.html").is_file()
    assert (directory / "differences.csv").read_text().splitlines() == ["table,key,field,what,expected,found"]


def test_basic_passes_on_what_was_moved_exactly(operator: Operator, database_url: str) -> None:
    said = operator.firelift("migrate", "--verification-level", "basic")
    assert said.code == 0, said.err
    assert_passed(results_of(operator), database_url, "basic")


def test_comprehensive_passes_and_no_password_gets_into_its_results(
    source: Source, prefect_api: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    password = f"{CANARY}-{token_urlsafe(8)}"
    with database(postgres) as url, psycopg.connect(url, autocommit=True) as admin:
        role = f"verifier_{token_urlsafe(4).lower().replace('-', '_')}"
        admin.execute(f"CREATE ROLE \"{role}\" LOGIN SUPERUSER PASSWORD '{password}'".encode())
        try:
            parts = urlsplit(url)
            address = parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}").geturl()
            operator = somebody(source, address, prefect_api, tmp_path).with_(**BY_PREFECT)
            migrated = operator.firelift("migrate", "--verification-level", "comprehensive")
            assert migrated.code == 0, migrated.err
            assert_passed(results_of(operator), url, "comprehensive")
            said = operator.firelift("verify", "--verification-level", "comprehensive", "--json", "--verbose")
            assert said.code == 0, said.err
            assert json.loads(said.out)["passed"] is True
            assert password not in text_below(tmp_path) + migrated.out + migrated.err + said.out + said.err + text_of(url)
        finally:
            admin.execute(f'REASSIGN OWNED BY "{role}" TO CURRENT_USER; DROP OWNED BY "{role}"; DROP ROLE "{role}"'.encode())


# Rows are spoiled on their way into the staging table, by a trigger that the target's owner might have set up in earnest.
SPOILED = """
    CREATE FUNCTION public.spoil_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {act} RETURN NEW; END $$;
    CREATE FUNCTION public.spoil() RETURNS event_trigger LANGUAGE plpgsql AS $$
    DECLARE made record;
    BEGIN
        FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE 'firelift\\_staging%.cities' LOOP
            EXECUTE format('CREATE TRIGGER spoiled {when} INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.spoil_row()',
                made.object_identity);
        END LOOP;
    END $$;
    CREATE EVENT TRIGGER spoil ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.spoil();
"""


def spoil(url: str, when: str, act: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SPOILED.format(when=when, act=act).encode())


ELSEWHERE = "IF NEW.id = '{}' THEN EXECUTE format('{}', TG_TABLE_SCHEMA, TG_TABLE_NAME) USING NEW; END IF;"


@pytest.mark.parametrize(
    ("when", "act", "words"),
    [
        ("BEFORE", "IF NEW.id = 'c007' THEN NEW.name := NEW.name || ' '; END IF;", ["cities", "c007", "name"]),
        (
            "AFTER",
            ELSEWHERE.format("c010", "INSERT INTO %I.%I SELECT (jsonb_populate_record($1, jsonb_build_object(''id'', ''copy''))).*"),
            ["cities", "copy", "unexpected row"],
        ),
    ],
    ids=["a trailing space", "a row twice under another key"],
)
def test_what_differs_is_never_published(operator: Operator, database_url: str, when: str, act: str, words: list[str]) -> None:
    spoil(database_url, when, act)
    said = operator.with_(**BY_PREFECT).firelift("migrate", "--verification-level", "comprehensive")
    assert said.code == 4, said.err
    assert len(said.error) < 1000
    assert words[0] in said.error
    assert words[1] in said.error
    assert holds_nothing(database_url)
    first_lines = (operator.workspace / "migration-executive-summary.md").read_text().splitlines()[:12]
    assert all(any(word in line for line in first_lines) for word in words), first_lines
    with (results_of(operator) / "differences.csv").open() as file:
        differences = list(csv.DictReader(file))
    assert any(row["table"] == "cities" and row["key"] == words[1] and words[2] in (row["field"], row["what"]) for row in differences)
    assert result(results_of(operator))["passed"] is False
    report = json.loads((operator.workspace / "final-migration-report.json").read_text())
    assert report["status"] == "failed"
    assert report["phases"]["verification"]["state"] == "failed"


def test_without_the_automatic_rollback_the_staged_rows_stay_for_a_look(operator: Operator, database_url: str) -> None:
    spoil(database_url, "BEFORE", "IF NEW.id = 'c007' THEN NEW.name := upper(NEW.name); END IF;")
    said = operator.firelift("migrate", "--migration-id", "kept", "--verification-level", "comprehensive", "--no-auto-rollback")
    assert said.code == 4, said.err
    assert tables_of(database_url) == {}
    found = result(results_of(operator))
    asked = [expectation["recompute"] for expectation in found["expectations"] if not expectation["success"]]
    assert asked
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname LIKE 'firelift_staging%'").fetchone() != (0,)
        for query in [
            expectation["recompute"] for expectation in found["expectations"] if str(expectation["recompute"]).startswith("SELECT")
        ]:
            connection.execute(query.encode())


@pytest.fixture(scope="module")
def migrated(
    source: Source, prefect_api: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Operator, str]]:
    """A target as a migration left it; what a test changes in it, it takes back."""
    with database(postgres) as url:
        operator = somebody(source, url, prefect_api, tmp_path_factory.mktemp("migrated"))
        assert operator.firelift("migrate", "--migration-id", "the-night").code == 0
        yield operator, url


def verify(operator: Operator, level: LevelName = "standard", against: Against | None = "archive", seed: str | None = None) -> Verified:
    """As the command does, without the seconds it takes to start."""
    options = {
        "database_url": operator.variables["SUPABASE_DB_URL"],
        "firestore_emulator_host": operator.variables["FIRESTORE_EMULATOR_HOST"],
    }
    settings = Settings.load(verification_level=level, working_dir=operator.workspace, **options)
    return verify_published(settings, against, seed, lambda _: None, expectations)


def test_standard_is_the_default(migrated: tuple[Operator, str]) -> None:
    operator, url = migrated
    assert_passed(results_of(operator), url, "standard")


@pytest.mark.parametrize("against", ["archive", "firestore"])
@pytest.mark.parametrize("level", list(LEVELS))
def test_a_published_target_is_verified_again(migrated: tuple[Operator, str], level: LevelName, against: Against) -> None:
    operator, url = migrated
    before = text_of(url)
    done = verify(operator, level, against)
    assert (done.passed, done.level, done.against, done.differences_total) == (True, level, against, 0), done
    assert text_of(url) == before
    assert Path(done.results).parent == operator.workspace / "runs" / "the-night" / "verifications"
    assert_passed(Path(done.results), url, level)
    assert [path.name for path in (operator.workspace / "runs" / "the-night").iterdir() if path.name.startswith(".documents")] == []


def test_a_row_that_somebody_changed_is_named_and_nothing_is_undone(migrated: tuple[Operator, str]) -> None:
    operator, url = migrated
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE public.cities SET population = population + 1 WHERE id = 'c042'")
    try:
        assert not verify(operator, "comprehensive", "firestore").passed
        said = operator.firelift("verify", "--verification-level", "comprehensive")
        assert said.code == 4
        assert "The target does NOT match Firestore." in said.out
        assert "cities c042 population: value: expected integer 42000, found integer 42001" in said.out
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT population FROM public.cities WHERE id = 'c042'").fetchone() == (42001,)
    finally:
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE public.cities SET population = population - 1 WHERE id = 'c042'")


@pytest.mark.parametrize(
    ("change", "back", "words"),
    [
        ("people RENAME TO persons", "persons RENAME TO people", "people"),
        ("cities RENAME COLUMN area TO size", "cities RENAME COLUMN size TO area", "area"),
        ("cities ALTER COLUMN population TYPE numeric", "cities ALTER COLUMN population TYPE bigint", "population"),
    ],
    ids=["table gone", "column gone", "other type"],
)
def test_a_table_that_was_altered_is_a_finding_not_an_error(migrated: tuple[Operator, str], change: str, back: str, words: str) -> None:
    operator, url = migrated
    with psycopg.connect(url) as connection:
        connection.execute(f"ALTER TABLE public.{change}".encode())
    try:
        done = verify(operator)
        assert not done.passed
        assert words in verified_text(done)
    finally:
        with psycopg.connect(url) as connection:
            connection.execute(f"ALTER TABLE public.{back}".encode())


def test_a_seed_draws_the_same_sample_again(migrated: tuple[Operator, str]) -> None:
    operator, _ = migrated

    def pieces(seed: str) -> list[Any]:
        done = verify(operator, "basic", seed=seed)
        assert done.seed == seed
        return [piece["key"] for piece in result(Path(done.results))["pieces"]]

    assert pieces("one") == pieces("one") != pieces("two")


def test_without_the_archive_only_firestore_can_be_asked(migrated: tuple[Operator, str], tmp_path: Path) -> None:
    operator, _ = migrated
    elsewhere = Operator(tmp_path, operator.variables)
    said = elsewhere.firelift("verify", "--against", "archive")
    assert (said.code, "--against firestore" in said.error) == (2, True), said.err
    assert not elsewhere.workspace.exists()
    chosen = verify(elsewhere, against=None)
    assert (chosen.passed, chosen.against) == (True, "firestore")
    assert "documents compared to the last bit with Firestore, read again" in verified_text(chosen)


def test_an_archive_that_is_not_whole_is_no_proof(migrated: tuple[Operator, str], tmp_path: Path) -> None:
    operator, _ = migrated
    copy = Operator(tmp_path, operator.variables)
    shutil.copytree(operator.workspace, copy.workspace, symlinks=True)
    chunk = next((copy.workspace / "runs" / "the-night" / "archive" / "cities").glob("*.parquet"))
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    with pytest.raises(NoArchive, match=f"{chunk.name}.*--against firestore"):
        verify(copy, "comprehensive")
    chunk.unlink()
    with pytest.raises(NoArchive, match="incomplete: cities"):
        verify(copy, "comprehensive")
    assert verify(copy, against=None).against == "firestore"


def refused(said: Said, *words: str) -> None:
    assert said.code == 2, said.err
    assert all(word in said.error for word in words), said.err
    assert said.err.count("\n") == 1


def test_what_cannot_be_verified_is_said_in_a_line(migrated: tuple[Operator, str], database_url: str) -> None:
    operator, _ = migrated
    refused(operator.firelift("verify", "--migration-id", "unknown"), "unknown", "no table that this run published")
    refused(operator.firelift("verify", "--target-schema", "elsewhere"), "elsewhere")
    refused(operator.with_(SUPABASE_DB_URL=database_url).firelift("verify"), "no table that this run published")
    refused(operator.with_(SUPABASE_DB_URL=None).firelift("verify"), "--database-url")
    refused(operator.firelift("verify", "--verification-level", "thorough"), "verification-level")
    refused(operator.firelift("verify", "--against", "memory"), "--against")


def test_a_changed_source_does_not_disturb_a_verification_of_the_snapshot(
    emulator_host: str, prefect_api: str, database_url: str, tmp_path: Path
) -> None:
    with new_source(emulator_host) as source:
        write(source, CITIES)
        operator = somebody(source, database_url, prefect_api, tmp_path)
        assert operator.firelift("migrate").code == 0
        write(source, {"cities/c000": {"name": "changed since"}, "cities/new": {"name": "new"}})
        done = verify(operator, "comprehensive", "firestore")
        assert done.passed
        assert done.compared == len(CITIES)
