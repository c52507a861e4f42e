"""What is given for a setting and may be a secret is never shown: not in errors, tracebacks, Prefect's words or files."""

from __future__ import annotations

import base64
import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError

from firelift.cli.main import call
from firelift.errors import ConfigurationError
from firelift.run.redact import redact
from firelift.settings.errors import InvalidSetting
from firelift.settings.secret_shapes import secret_look
from firelift.settings.settings import PUBLIC_FIELDS, Settings, environment_names
from firelift.settings.target import Target
from flows.migration import migration

CANARY = "C4nary"
PEM = f"-----BEGIN PRIVATE KEY-----\nMIIE{CANARY}\n-----END PRIVATE KEY-----\n"
ACCOUNT = json.dumps({"type": "service_account", "private_key": PEM})


def token(**claims: str) -> str:
    return f"eyJhbGciOiJIUzI1NiJ9.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.{CANARY}"


SECRETS = {
    "JSON of a service account": (ACCOUNT, repr(ACCOUNT), json.dumps(ACCOUNT), ACCOUNT[:70], base64.b64encode(ACCOUNT.encode()).decode()),
    "a PEM block": (PEM, PEM.replace("\n", "\\n"), f"'{PEM}'"),
    "a database URL": (f"postgresql://me:{CANARY}@h/d", f"postgres://me:a/{CANARY}@b@h/d", f" postgresql+psycopg://me:x@{CANARY}:y@h"),
    "an address with a password in it": (f"https://me:{CANARY}@h", f"mysql://me:p@{CANARY}@h/d"),
    "a connection string with a password": (f"host=h user=me password={CANARY}",),
    "a Supabase service role key": (f"sb_secret_{CANARY}", token(role="service_role")),
    "a token (JWT)": (token(role="anon"),),
    "a token of Google's": (f"ya29.{CANARY}",),
}
KINDS = [(what, text) for what, texts in SECRETS.items() for text in texts]
# Kinds of settings: an address, a key file, other files, names, a choice, a number, a truth, a list, a moment.
PLACES = (
    *("supabase_url", "firebase_service_account", "database_url", "mapping", "app_config", "checkpoint_file", "working_dir"),
    *("project_id", "firestore_emulator_host", "target_schema", "naming", "batch_size", "dry_run", "collections", "read_time"),
    *("migration_id", "skip_phases", "changed_since_field"),
)


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        for variable in environment_names(name):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def everything_of(error: BaseException) -> str:
    return f"{error!r} {error}" + "".join(traceback.format_exception(error))


@pytest.mark.parametrize(("what", "text"), KINDS)
def test_a_secret_is_known_by_its_look(what: str, text: str) -> None:
    look = secret_look(text)
    assert look is not None
    assert look.what == what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "users/*/orders",
        "https://x.supabase.co",
        "service_account.json",
        "/keys/service_account.json",
        "db.example.co:5432",
        "127.0.0.1:8080",
    ],
)
def test_an_ordinary_value_looks_like_no_secret(text: str) -> None:
    assert secret_look(text) is None


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(("what", "text"), KINDS)
def test_a_secret_in_the_wrong_setting_is_refused_by_what_it_looks_like(what: str, text: str, name: str) -> None:
    if name == "database_url" and what == "a database URL":
        return
    with pytest.raises(InvalidSetting) as caught:
        Settings.load(**{name: text})
    assert CANARY not in everything_of(caught.value)
    assert f"it looks like {what}" in str(caught.value)
    assert "instead: " in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "words"),
    [
        ("GOOGLE_APPLICATION_CREDENTIALS", f"'{ACCOUNT}'", ("JSON of a service account, not a path", "the path of that file")),
        ("GOOGLE_APPLICATION_CREDENTIALS", PEM, ("a PEM block, not a path", "the path of that file")),
        ("MIGRATION_FIREBASE_SERVICE_ACCOUNT", PEM, ("a PEM block, not a path",)),
        ("SUPABASE_URL", f"postgresql://me:a/{CANARY}@b@h/d", ("a database URL, not the project's https:// address", "SUPABASE_DB_URL")),
        ("MIGRATION_SUPABASE_URL", token(role="service_role"), ("service role key", "SUPABASE_SERVICE_ROLE_KEY")),
        ("SUPABASE_DB_URL", f"https://me:{CANARY}@x.supabase.co", ("not a database URL", "SUPABASE_URL")),
        ("SUPABASE_DB_URL", f"postgresql://me:a/{CANARY}@b@h/d", ("write special characters of the password as %XX",)),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize("verbose", ["", "--verbose"])
def test_the_command_says_what_it_is_and_where_it_belongs(
    variable: str, text: str, words: tuple[str, ...], where: str, verbose: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if where == ".env":
        Path(".env").write_text(f"{variable}={json.dumps(text)}\n" if '"' not in text else f"{variable}={text}\n")
    else:
        monkeypatch.setenv(variable, text)
    assert call(["migrate", *filter(None, [verbose])]) == 2
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    for word in (variable, *words):
        assert word in said.err


@pytest.mark.parametrize(("what", "text"), KINDS)
def test_no_word_on_the_command_line_is_quoted_that_looks_like_a_secret(what: str, text: str, capsys: Any) -> None:
    for words in ([], ["migrate"], ["cleanup", "--backup-retention"], ["verify", "--against"], ["migrate", f"--{text}"]):
        assert call([*words, text]) == 2
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err


def test_a_password_that_a_space_cut_in_two_is_not_quoted(capsys: Any) -> None:
    assert call(["migrate", "--supabase-key", "half", "canary"]) == 2
    assert call(["migrate", "--database-url", "postgresql://me:half", "can:ary@h/d"]) == 2
    said = capsys.readouterr()
    assert "canary" not in said.err
    assert "can:ary" not in said.err
    assert said.err.count("unexpected extra argument (***)") == 2


@pytest.mark.parametrize("name", [name for name in PLACES if name in PUBLIC_FIELDS])
def test_prefect_s_words_about_a_parameter_do_not_quote_it(name: str) -> None:
    for _, text in KINDS:
        said = ""
        try:
            migration.validate_parameters({name: text})
        except ParameterTypeError as error:
            said = everything_of(error)
        assert CANARY not in said


def test_a_rollback_s_and_a_status_settings_are_as_silent() -> None:
    for load in (Target.load, Settings.load):
        with pytest.raises(ConfigurationError) as caught:
            load(migration_id=f"sb_secret_{CANARY}/x")
        assert CANARY not in everything_of(caught.value)


def test_a_harmless_value_is_still_quoted() -> None:
    for name, text in {
        "firebase_service_account": "nowhere.json",
        "mapping": "map.json",
        "batch_size": "many",
        "migration_id": "a/b",
    }.items():
        with pytest.raises(InvalidSetting, match=f"value: {text}"):
            Settings.load(**{name: text})


@pytest.mark.parametrize(
    "text",
    [PEM, PEM.replace("\n", "\\n"), PEM[:50], f"sb_secret_{CANARY}", token(role="service_role"), f"postgresql://me:a/{CANARY}@b@h/d"],
)
def test_a_secret_nobody_told_us_of_is_masked(text: str) -> None:
    assert CANARY not in redact(f"something said {text!r} and {text}")
