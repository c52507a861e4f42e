"""An app's configuration gets its new values, and nothing else of it changes, whatever happens."""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from firelift.app_config import dotenv_file as dotenv_edit
from firelift.app_config import json_file as json_edit
from firelift.app_config import update as app_config
from firelift.app_config.update import AppConfig, AppConfigNotUpdated, AppConfigUnusable

RUN = "migration-1"
PASSWORD = "canary-5e1f-password"
URL = f"postgresql://me:{PASSWORD}@db.example.org:5432/postgres"
PLACES = {
    "target_schema": "public",
    "migration_id": RUN,
    "read_time": "2026-11-22T10:30:00Z",
    "project_id": "shop",
    "database_host": "db.example.org",
}


def config(file: Path | None, values: Mapping[str, Any]) -> AppConfig:
    return AppConfig(file, values, PLACES, (URL, PASSWORD, "short"))


DOTENV = {
    "a value in its place": ("A=1\nB=2\n", {"A": "x"}, "A=x\nB=2\n"),
    "comments, blank lines and order": ("# top\n\nB=2 # two\n#A=0\nA=1\n", {"B": "x"}, "# top\n\nB=x # two\n#A=0\nA=1\n"),
    "export": ("export A=1\n", {"A": "x"}, "export A=x\n"),
    "export for a new one, where all have it": ("export A=1\n", {"B": "x"}, "export A=1\nexport B=x\n"),
    "single quotes": ("A='one two' # c\n", {"A": "x"}, "A='x' # c\n"),
    "double quotes": ('A="one"\n', {"A": "x y"}, 'A="x y"\n'),
    "quotes where they become needed": ("A=1\n", {"A": "x y"}, "A='x y'\n"),
    "a dollar is none of a shell's": ('A="one"\n', {"A": "$HOME"}, "A='$HOME'\n"),
    "an apostrophe": ("A='one'\n", {"A": "it's"}, 'A="it\'s"\n'),
    "lines": ("A=1\n", {"A": "x\ny"}, 'A="x\\ny"\n'),
    "a value of several lines": ('A="one\ntwo" # c\nB=2\n', {"A": "x"}, 'A="x" # c\nB=2\n'),
    "white space": ("  A = 1  # c\n", {"A": "x"}, "  A = x  # c\n"),
    "no value": ("A\nB=\n", {"A": "x", "B": "y"}, "A=x\nB=y\n"),
    "a comment and no value": ("A= # c\n", {"A": "x"}, "A=x # c\n"),
    "a hash inside": ("A=a#b\n", {"A": "c#d"}, "A='c#d'\n"),
    "the same name twice": ("A=1\nA=2\n", {"A": "x"}, "A=x\nA=x\n"),
    "Windows": ("A=1\r\nB=2\r\n", {"A": "x", "C": "y"}, "A=x\r\nB=2\r\nC=y\r\n"),
    "no newline at the end": ("A=1", {"B": "y"}, "A=1\nB=y\n"),
    "an empty file": ("", {"A": "x"}, "A=x\n"),
    "what is so already, as it is spelled": ("A='x'\n", {"A": "x"}, "A='x'\n"),
    "other types": ("A=1\n", {"A": True, "B": 2.5, "C": None, "D": {"e": [1]}}, "A=true\nB=2.5\nC=\nD='{\"e\": [1]}'\n"),
    "places": (
        "A=1\n",
        {"A": "{target_schema}.{migration_id}", "B": "{{target_schema}} {x"},
        f"A=public.{RUN}\nB='{{target_schema}} {{x'\n",
    ),
}

JSON = {
    "a value in its place": ('{"a": 1, "b": 2}\n', {"a": 3}, '{"a": 3, "b": 2}\n'),
    "the spelling of all else": (
        '{"n": 1.00, "u": "\\u00e9", "l": [1,2],"a":1}',
        {"a": 3},
        '{"n": 1.00, "u": "\\u00e9", "l": [1,2],"a":3}',
    ),
    "a new one at the end": ('{\n\t"a": 1\n}\n', {"b": "x"}, '{\n\t"a": 1,\n\t"b": "x"\n}\n'),
    "a new one in a line": ('{"a":1}', {"b": 2}, '{"a":1,"b":2}'),
    "the first one": ("{}", {"a": 1}, '{"a": 1}'),
    "the first one of an inner object": ('{\n  "a": {}\n}\n', {"a.b": 1}, '{\n  "a": {\n    "b": 1\n  }\n}\n'),
    "an inner one": ('{\n    "a": {\n        "b": 1\n    }\n}', {"a.b": 2}, '{\n    "a": {\n        "b": 2\n    }\n}'),
    "objects that are not there": ('{"z": 0}', {"a.b.c": True}, '{"z": 0, "a": {"b": {"c": true}}}'),
    "a name with a dot": ('{"a.b": 1}', {"a.b": 2}, '{"a.b": 2}'),
    "a name with a dot, deeper": ('{"x": {"a.b": 1}}', {"x.a.b": 2}, '{"x": {"a.b": 2}}'),
    "types": ('{"a": 1}', {"a": "x", "b": None, "c": [1, {"d": False}]}, '{"a": "x", "b": null, "c": [1, {"d": false}]}'),
    "a word where a truth stands": ('{"a": false, "b": "no"}', {"a": "true", "b": "true"}, '{"a": true, "b": "true"}'),
    "digits where a number stands": ('{"a": 1, "b": 1, "c": "1"}', {"a": "5432", "b": "1e", "c": "2"}, '{"a": 5432, "b": "1e", "c": "2"}'),
    "what is so already, as it is spelled": ('{"a": 1.50, "b": 1}', {"a": 1.5, "b": "1"}, '{"a": 1.50, "b": 1}'),
    "a number of another kind": ('{"a": 1}', {"a": 1.0}, '{"a": 1.0}'),
    "the last of two of a name": ('{"a": 1, "a": 2}', {"a": 3}, '{"a": 1, "a": 3}'),
    "other letters": ('{"a": "é"}', {"b": "ü"}, '{"a": "é", "b": "ü"}'),
    "Windows": ('{\r\n  "a": 1\r\n}\r\n', {"b": {"c": 2}}, '{\r\n  "a": 1,\r\n  "b": {\r\n    "c": 2\r\n  }\r\n}\r\n'),
    "places, in depth": ("{}", {"a": {"b": ["{project_id}"]}}, '{"a": {"b": ["shop"]}}'),
}


@pytest.mark.parametrize(
    ("name", "before", "values", "after"),
    [*((".env.local", *case) for case in DOTENV.values()), *(("app.json", *case) for case in JSON.values())],
    ids=[*(f"dotenv: {case}" for case in DOTENV), *(f"JSON: {case}" for case in JSON)],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
def test_only_what_was_asked_for_changes(name: str, before: str, values: dict[str, Any], after: str, start: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(start + before.encode())
    wanted = config(file, values)
    wanted.check()
    assert file.read_bytes() == start + before.encode()
    assert [path.name for path in tmp_path.iterdir()] == [name]

    updated = wanted.update(RUN)

    assert updated is not None
    assert file.read_bytes() == start + after.encode()
    kept = tmp_path / f"{name}.before-{RUN}"
    assert updated.old_file == (None if before == after else str(kept))
    assert {*tmp_path.iterdir()} == ({file} if before == after else {file, kept})
    assert before == after or kept.read_bytes() == start + before.encode()
    assert wanted.update(RUN) == updated
    assert file.read_bytes() == start + after.encode()


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), TEXT), st.dictionaries(st.sampled_from("ABC"), TEXT))
def test_every_text_comes_back_from_a_dotenv_file(before: dict[str, str], values: dict[str, str]) -> None:
    text = dotenv_edit.edit(dotenv_edit.edit("# mine\n", before), values)
    assert dotenv_edit.read(text) == before | values
    assert dotenv_edit.edit(text, values) == text


ANY = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT, st.lists)


@given(
    st.dictionaries(TEXT, ANY | st.dictionaries(TEXT, ANY)),
    st.dictionaries(st.text("abcé", min_size=1), ANY),
    st.sampled_from([None, 0, 1, 4, "\t"]),
)
def test_every_value_comes_back_from_a_json_file(before: dict[str, Any], values: dict[str, Any], indent: int | str | None) -> None:
    text = json_edit.edit(json.dumps(before, indent=indent), values)
    found = json.loads(text)
    assert list(found) == list(before | values)
    for name, value in (before | values).items():
        standing = before.get(name)
        typed = isinstance(value, str) and isinstance(standing, int | float)
        assert typed or json.dumps(found[name]) == json.dumps(value)
    assert json_edit.edit(text, values) == text


def token(role: str) -> str:
    """What Supabase calls an API key."""
    parts = (json.dumps(part).encode() for part in ({"alg": "HS256"}, {"role": role}))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "canary-5e1f"])


UNUSABLE: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "no dotenv": (".env", b"A=1\n\nDear diary, x\n", {"A": "x"}, "line 3 is not NAME=value"),
    "no JSON": ("a.json", b'{"a": 1,\nb}', {"a": "x"}, "line 2, column 1 is not JSON"),
    "JSON with comments": ("a.json", b"{ // mine\n}", {"a": "x"}, "line 1, column 3 is not JSON"),
    "no object": ("a.json", b"[1]", {"a": "x"}, "it is not a JSON object"),
    "an empty JSON file": ("a.json", b"", {"a": "x"}, "is not JSON"),
    "no text": (".env", b"A=\xff", {"A": "x"}, "not UTF-8 text"),
    "deeper than anything": ("a.json", b"[" * 200_000, {"a": "x"}, "file"),
    "larger than any": (".env", b"#" * 5_000_001, {"a": "x"}, "too many for a configuration file"),
    "a name with a space": (".env", b"", {"A B": "x"}, "'A B' is not a name"),
    "a name that is empty": ("a.json", b"{}", {"a..b": "x"}, "'a..b' is not a name"),
    "an object that is none": ("a.json", b'{"a": 1}', {"a.b": "x"}, "'a' is not an object"),
    "a NUL": (".env", b"", {"A": "x\0y"}, "NUL"),
    "half a character": ("a.json", b"{}", {"a": "\ud800"}, "UTF-8"),
    "an unknown place": (".env", b"", {"A": "{target_shema}"}, "there is no {target_shema}; there are {target_schema}"),
    "a place that is not known": (".env", b"", {"A": "{supabase_url}"}, "{supabase_url} is not known"),
    "the password": (".env", b"", {"A": PASSWORD}, "it holds a secret"),
    "the address": (".env", b"", {"A": f"x {URL} y"}, "it holds a secret"),
    "another address with a password": (".env", b"", {"A": "postgres://you:canary-5e1f@h/x"}, "it holds a secret"),
    "a short secret": (".env", b"", {"A": "short"}, "it holds a secret"),
    "a secret in depth": ("a.json", b"{}", {"a": {"b": ["x", PASSWORD]}}, "it holds a secret"),
    "a secret as a name": ("a.json", b"{}", {"a": {PASSWORD: 1}}, "it holds a secret"),
    "a secret as the name": ("a.json", b"{}", {PASSWORD: 1}, "one of the names holds a secret"),
    "a key of Supabase": (".env", b"", {"A": "sb_secret_canary-5e1f"}, "it holds a secret"),
    "a private key": (".env", b"", {"A": "-----BEGIN PRIVATE KEY-----\ncanary-5e1f"}, "it holds a secret"),
    "a token of Supabase": (
        ".env",
        b"",
        {"A": token("service_role")},
        "it holds a secret",
    ),
}


@pytest.mark.parametrize(("name", "before", "values", "words"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_done_is_said_before_and_never_quotes_a_secret(
    name: str, before: bytes, values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(before)
    with pytest.raises(AppConfigUnusable) as refused:
        config(file, values).check()
    assert words in str(refused.value)
    assert refused.value.exit_code == 2
    with pytest.raises(AppConfigNotUpdated) as failed:
        config(file, values).update(RUN)
    assert "The tables ARE published" in str(failed.value)
    assert failed.value.exit_code == 1
    assert "canary" not in str(refused.value) + str(failed.value)
    assert "diary" not in str(refused.value)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_anonymous_token_is_no_secret(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.touch()
    config(file, {"KEY": token("anon")}).check()


@pytest.mark.parametrize(("file", "values", "words"), [(None, {"A": "1"}, "without --app-config"), (".env", {}, "--app-config-values")])
def test_a_file_needs_values_and_values_a_file(file: str | None, values: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    with pytest.raises(AppConfigUnusable, match=words):
        config(tmp_path / file if file else None, values).check()


def test_without_either_nothing_happens() -> None:
    config(None, {}).check()
    assert config(None, {}).update(RUN) is None


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("app.cfg", '\n{"A": 1}', '\n{"A": 2}'),
        ("app.cfg", "A=1", "A=2"),
        ("env", "", "A=2\n"),
        (".env.json", "{}", '{"A": 2}'),
        ("a.ENV", "", "A=2\n"),
    ],
)
def test_a_name_that_says_nothing_leaves_it_to_the_content(name: str, before: str, after: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(before)
    config(tmp_path / name, {"A": 2}).update(RUN)
    assert (tmp_path / name).read_text() == after


def test_a_link_stays_a_link_and_its_file_keeps_mode_and_owner(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "shared.env", tmp_path / ".env"
    real.write_text("A=1\n")
    real.chmod(0o640)
    owner = (12345, 23456) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(real, *owner)
    link.symlink_to("there/shared.env")
    updated = config(link, {"A": "x"}).update(RUN)
    assert updated is not None
    assert updated.file == str(link)
    assert updated.old_file == f"{real}.before-{RUN}"
    assert link.is_symlink()
    for file, text in ((real, "A=x\n"), (Path(updated.old_file), "A=1\n")):
        there = file.stat()
        assert (stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid) == (0o640, *owner)
        assert file.read_text() == text


def test_a_directory_that_takes_no_file_is_found_out_before() -> None:
    file = Path("/proc/sys/kernel/hostname")
    if not file.exists():
        pytest.skip("no /proc")
    with pytest.raises(AppConfigUnusable, match=r"may not be written|can be put beside it"):
        config(file, {"A": "1"}).check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_found_out_before(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.touch(mode=0o400)
    with pytest.raises(AppConfigUnusable, match="may not be written"):
        config(file, {"A": "1"}).check()


def test_what_was_kept_is_never_overwritten_and_later_changes_stay(tmp_path: Path) -> None:
    file, kept = tmp_path / ".env", tmp_path / f".env.before-{RUN}"
    file.write_text("A=1\nB=1\n")
    config(file, {"A": "x"}).update(RUN)
    file.write_text("A=2\nB=mine\n")
    updated = config(file, {"A": "x"}).update(RUN)
    assert updated is not None
    assert updated.changed == ("A",)
    assert (file.read_text(), kept.read_text()) == ("A=x\nB=mine\n", "A=1\nB=1\n")


@pytest.mark.parametrize("steps", [1, 2])
def test_a_death_in_between_loses_nothing(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, kept = tmp_path / ".env", tmp_path / f".env.before-{RUN}"
    file.write_text("A=1\n")
    placed = app_config._place_beside
    done: list[None] = []

    def dies(*arguments: Any) -> None:
        placed(*arguments)
        done.append(None)
        if len(done) == steps:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(app_config, "_place_beside", dies)
        with pytest.raises(KeyboardInterrupt):
            config(file, {"A": "x"}).update(RUN)
    updated = config(file, {"A": "x"}).update(RUN)
    assert updated is not None
    assert (updated.old_file, updated.changed) == (str(kept), ("A",))
    assert (file.read_text(), kept.read_text()) == ("A=x\n", "A=1\n")
    assert {*tmp_path.iterdir()} == {file, kept}


def test_a_file_that_changes_meanwhile_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1\n")
    placed = app_config._place_beside

    def interfering(*arguments: Any) -> None:
        if "C=3" not in file.read_text():
            file.write_text(file.read_text() + "C=3\n")
        placed(*arguments)

    monkeypatch.setattr(app_config, "_place_beside", interfering)
    config(file, {"A": "x"}).update(RUN)
    assert dotenv_values(file) == {"A": "x", "C": "3"}


def test_a_file_that_is_gone_at_the_end_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(AppConfigNotUpdated, match=r"The tables ARE published.*No such file.*--resume"):
        config(tmp_path / ".env", {"A": "x"}).update(RUN)


def test_the_names_that_changed_are_told(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": 1, "b": {"c": 2, "d": 3}}')
    updated = config(file, {"a": 1, "b.c": 5, "b.d": 3, "e": None}).update(RUN)
    assert updated is not None
    assert updated.changed == ("b.c", "e")


@pytest.mark.parametrize("text", ['{"a":' * 200_000, "[" * 200_000, '{"a":' * 200_000 + "1" + "}" * 200_000])
def test_a_file_that_is_nested_without_end_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "deep.json"
    file.write_text(text)
    with pytest.raises(AppConfigUnusable) as caught:
        AppConfig(file, {"b": "x"}, {}, ()).check()
    assert caught.value.exit_code == 2
    assert file.read_text() == text
