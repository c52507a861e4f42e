"""Settings come from options, environment, `.env` and defaults, in this order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firelift.errors import ConfigurationError
from firelift.settings.errors import InvalidSetting, MissingSetting, UnknownSetting, UnreadableEnvFile
from firelift.settings.fields import PREFIX
from firelift.settings.settings import PUBLIC_FIELDS, Settings, environment_names, forget_surroundings, unknown_variables

PASSWORD = "s3cr3t-p@ss/word"
URL = "postgresql://postgres:s3cr3t-p%40ss%2Fword@db.example.co:6543/postgres"
KEY = "eyJhbGciOiJIUzI1NiJ9.service-role"


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of ours and no `.env`, whatever the machine has."""
    for name in Settings.model_fields:
        for variable in environment_names(name):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    before = Settings.model_config["env_file"]
    yield
    Settings.model_config["env_file"] = before


def test_defaults_are_the_contract_s() -> None:
    settings = Settings.load()
    assert settings.batch_size == 5000
    assert settings.working_dir == Path("migration-workspace")
    assert (settings.naming, settings.foreign_keys, settings.target_schema) == ("snake_case", "report", "public")
    assert settings.auto_verification
    assert not settings.dry_run
    assert 1 <= settings.max_workers <= 8


def test_option_wins_over_environment_over_env_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MIGRATION_BATCH_SIZE=10\n")
    assert Settings.load().batch_size == 10
    monkeypatch.setenv("MIGRATION_BATCH_SIZE", "20")
    assert Settings.load().batch_size == 20
    assert Settings.load(batch_size=30).batch_size == 30


def test_the_environment_wins_over_the_env_file_also_under_a_lesser_name(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MIGRATION_DATABASE_URL=postgresql://file/db\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://environment/db")
    assert Settings.load().target() == "environment/db"


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_read_from_its_own_variable(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("{}")
    texts = {
        "supabase_url": "https://x.supabase.co",
        "supabase_key": KEY,
        "database_url": URL,
        "firestore_emulator_host": "http://127.0.0.1:8080",
        "firebase_service_account": "file.json",
        "mapping": "file.json",
        "checkpoint_file": "file.json",
        "naming": "preserve",
        "foreign_keys": "strict",
        "require_tls": "true",
        "trust_owner": "app",
        "migration_mode": "test",
        "deletes": "mark",
        "max_deletes": "20%",
        "schema_changes": "freeze",
        "keep": "true",
        "read_time": "minute",
        "on_expired_snapshot": "catch-up",
        "auto_verification": "false",
        "auto_rollback": "false",
        "dry_run": "true",
        "resume": "true",
        "skip_phases": "extraction",
        "verification_level": "basic",
        "keep_archive": "false",
        "keep_tables": "false",
        "app_config": "file.json",
        "app_config_values": "DATA_BACKEND=supabase",
        "verbose": "1",
    }
    counts = (
        "max_rejects",
        "max_reads",
        "max_cost",
        "read_price",
        "max_workers",
        "batch_size",
        "range_documents",
        "max_lookup_ms",
        "max_count_ms",
        "full_scan_every",
        "sample_size",
    )
    numbers = dict.fromkeys(counts, "7")
    monkeypatch.setenv(PREFIX + name.upper(), {**texts, **numbers}.get(name, "abc"))
    assert getattr(Settings.load(), name) != getattr(Settings.model_construct(), name)


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("SUPABASE_DB_URL", URL, "database_url"),
        ("DATABASE_URL", URL, "database_url"),
        ("SUPABASE_URL", "https://x.supabase.co", "supabase_url"),
        ("SUPABASE_SERVICE_ROLE_KEY", KEY, "supabase_key"),
        ("GOOGLE_CLOUD_PROJECT", "some-project", "project_id"),
        ("FIRESTORE_EMULATOR_HOST", "127.0.0.1:8080", "firestore_emulator_host"),
    ],
)
def test_the_names_other_tools_use_are_read_too(variable: str, value: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(Settings.load(), name) is not None


def test_values_for_the_app_are_a_list_of_names_and_texts_or_any_json_object() -> None:
    assert Settings.load(app_config_values="A=1, B = x=y ,C=").app_config_values == {"A": "1", "B": "x=y", "C": ""}
    assert Settings.load(app_config_values='{"data.backend": {"on": true}}').app_config_values == {"data.backend": {"on": True}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_deletes", "0.2"),
        ("max_deletes", "-1"),
        ("max_deletes", "101%"),
        ("max_deletes", "some"),
        ("app_config_values", "A"),
        ("app_config_values", "=1"),
        ("app_config_values", "{"),
        ("app_config_values", '{"a": NaN}'),
        ("verification_level", "thorough"),
        ("max_lookup_ms", "0"),
        ("max_lookup_ms", "nan"),
        ("max_count_ms", "inf"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=name.replace("_", "-")):
        Settings.load(**{name: value})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("HTTP://localhost:8080/", "localhost:8080"),
        (" firestore_emulator:8080\t", "firestore_emulator:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("[fe80::1%eth0]:8080", "[fe80::1%eth0]:8080"),
    ],
)
def test_an_emulator_s_address_may_be_written_as_a_url(text: str, address: str) -> None:
    assert Settings.load(firestore_emulator_host=text).firestore_emulator_host == address


@pytest.mark.parametrize(
    "text",
    [
        "https://127.0.0.1:8080",
        "grpc://127.0.0.1:8080",
        "://127.0.0.1:8080",
        "127.0.0.1",
        "http://127.0.0.1/",
        "127.0.0.1:",
        ":8080",
        "::1:8080",
        "[::1]",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:8080/v1",
        "127.0.0.1:8080//",
        "127.0.0.1: 8080",
        "one:8080,two:8080",
        "   ",
        "8080",
    ],
)
def test_what_is_no_emulator_s_address_is_refused_at_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", text)
    with pytest.raises(InvalidSetting, match=r"FIRESTORE_EMULATOR_HOST.*must be HOST:PORT") as caught:
        Settings.load()
    assert caught.value.exit_code == 2


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", "")
    assert Settings.load().supabase_url is None


@pytest.mark.parametrize(
    ("text", "globs"),
    [("users, rooms/*/messages", ("users", "rooms/*/messages")), ("", ()), ('["a,b"]', ("a,b",)), (["x"], ("x",))],
)
def test_collections_are_a_comma_separated_list(text: object, globs: tuple[str, ...]) -> None:
    assert Settings.load(collections=text).collections == globs


BAD: list[tuple[str, object, str]] = [
    ("batch_size", "0", "--batch-size"),
    ("batch_size", "100001", "--batch-size"),
    ("batch_size", "many", "--batch-size"),
    ("max_rejects", "-1", "--max-rejects"),
    ("max_workers", "0", "--max-workers"),
    ("max_reads", "0", "--max-reads"),
    ("max_cost", "nan", "--max-cost"),
    ("max_cost", "-1", "--max-cost"),
    ("read_price", "free", "--read-price"),
    ("naming", "camel", "'snake_case' or 'preserve'"),
    ("migration_mode", "partial", "'full'"),
    ("migration_id", "../x", "--migration-id"),
    ("migration_id", "..", "--migration-id"),
    ("migration_id", "x" * 101, "--migration-id"),
    ("collections", "users//orders", "collection path"),
    ("collections", "[1", "JSON list"),
    ("target_schema", "pg_catalog", "belongs to"),
    ("target_schema", "firelift", "belongs to"),
    ("supabase_url", "x.supabase.co", "https://"),
    ("project_id", "a/b", "--project-id"),
    ("read_time", "yesterday", "RFC|minute"),
    ("read_time", "2026-01-01T00:00:00", "time zone"),
    ("read_time", "2999-01-01T00:00:00Z", "future"),
    ("read_time", "0001-01-01T00:00:00+23:59", "years 1 to 9999"),
    ("read_time", "9999-12-31T23:59:59-23:59", "years 1 to 9999"),
    ("collections", "[" * 200_000, "JSON list"),
    ("app_config_values", '{"a":' * 200_000, "JSON object"),
    ("mapping", "nowhere.toml", "no file"),
    ("firebase_service_account", '{"private_key": "x"}', "path of a file"),
    ("auto_verification", "perhaps", "--auto-verification"),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_a_bad_value_is_named_with_its_option_in_one_line(name: str, value: object, says: str) -> None:
    with pytest.raises(InvalidSetting, match=says.replace("/", "/")) as caught:
        Settings.load(**{name: value})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_bad_value_is_named_with_the_variable_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a/b")
    with pytest.raises(InvalidSetting, match="setting: GOOGLE_CLOUD_PROJECT"):
        Settings.load()


def test_a_bad_value_is_named_with_the_env_file_it_came_from() -> None:
    Path(".env").write_text("MIGRATION_BATCH_SIZE=x\n")
    with pytest.raises(InvalidSetting, match=r"MIGRATION_BATCH_SIZE in \.env"):
        Settings.load()


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UnknownSetting, match="resumee"):
        Settings.load(resumee=True)


def test_an_env_file_that_is_no_text_is_named() -> None:
    Path(".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(UnreadableEnvFile):
        Settings.load()


@pytest.mark.parametrize("url", [f"mysql://u:{PASSWORD}@h/d", "postgresql://u:" + PASSWORD + "@h:port/d", f"u:{PASSWORD}"])
def test_a_bad_connection_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(database_url=url)
    chain = f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert "s3cr3t" not in chain


def test_a_missing_key_file_does_not_matter_to_an_emulator() -> None:
    Settings.load(firebase_service_account="gone.json", firestore_emulator_host="localhost:1")
    with pytest.raises(InvalidSetting, match="no file"):
        Settings.load(firebase_service_account="gone.json")


def test_a_target_is_required_only_when_asked_for() -> None:
    with pytest.raises(MissingSetting, match="SUPABASE_DB_URL"):
        Settings.load().target_url()
    Settings.load(database_url=URL).target_url()


def test_public_settings_are_json_without_any_secret() -> None:
    settings = Settings.load(database_url=URL, supabase_key=KEY, collections="users")
    shown = settings.public()
    assert tuple(shown) == PUBLIC_FIELDS
    text = json.dumps(shown)
    assert not [secret for secret in (*settings.secrets(), "db.example.co") if secret in text]


def test_public_settings_make_the_same_settings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(database_url=URL, collections="a,b", read_time="2024-01-01T01:00:00+01:00", max_rejects=3)
    for name, value in settings.secret_environment().items():
        monkeypatch.setenv(name, value)
    again: dict[str, Any] = settings.public()
    assert Settings.load(**again) == settings


def test_neither_repr_nor_target_shows_the_password() -> None:
    settings = Settings.load(database_url=URL, supabase_key=KEY)
    assert settings.target() == "db.example.co:6543/postgres"
    assert not [secret for secret in settings.secrets() if secret in f"{settings!r} {settings.target()}"]


def test_the_password_is_a_secret_in_both_spellings() -> None:
    secrets = Settings.load(database_url=URL).secrets()
    assert {URL, PASSWORD, "s3cr3t-p%40ss%2Fword"} <= set(secrets)
    assert "q" in Settings.load(database_url="postgresql://h/d?password=q").secrets()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_means_postgresql(scheme: str) -> None:
    url = Settings.load(database_url=f"{scheme}://h/d").database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://h/d"


def test_a_slip_in_a_variable_s_name_is_found() -> None:
    assert unknown_variables({"MIGRATION_BACH_SIZE": "1", "MIGRATION_BATCH_SIZE": "1", "HOME": "/"}) == ["MIGRATION_BACH_SIZE"]


def test_the_demo_forgets_what_is_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    Path(".env").write_text(f"SUPABASE_SERVICE_ROLE_KEY={KEY}\n")
    forget_surroundings()
    assert Settings.load().secrets() == ()
