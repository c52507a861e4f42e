"""The configuration file of an app that is to use the new tables: checked before a migration begins, updated when it has ended."""

from __future__ import annotations

import json
import os
import re
import secrets as random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from firelift.app_config import dotenv_file as dotenv_edit
from firelift.app_config import json_file as json_edit
from firelift.errors import ConfigurationError, FireliftError
from firelift.receipts import AppConfigUpdated
from firelift.run.redact import redact
from firelift.settings.types import JSON

PLACES = ("target_schema", "migration_id", "read_time", "project_id", "supabase_url", "database_host")

# No configuration is larger: somebody has named the wrong file.
_MOST_BYTES = 5_000_000
_BOM = b"\xef\xbb\xbf"
_PLACE = re.compile(r"\{(\{?)([a-z_]+)(\}?)\}")


class AppConfigUnusable(ConfigurationError):
    """The app's configuration cannot be updated with what was given."""

    remedy = "Fix it, or leave out --app-config and --app-config-values."


class AppConfigNotUpdated(FireliftError):
    """The tables ARE published, but the app's configuration could not be updated."""

    recovery = "after_fix"
    remedy = "Fix that and continue with --resume, which migrates nothing again; or change the file by hand."


class _Found(NamedTuple):
    """A file as it was read."""

    file: Path
    data: bytes
    text: str
    kind: ModuleType


@dataclass(frozen=True)
class AppConfig:
    """A file and its new values: dotted names reach into JSON objects, and `{placeholder}` is replaced by what the run knows."""

    file: Path | None
    values: Mapping[str, JSON]
    places: Mapping[str, str]
    secrets: Sequence[str]

    def check(self) -> None:
        """Raises AppConfigUnusable where `update` could not succeed; changes nothing."""
        if self.file is None and self.values:
            raise AppConfigUnusable(problem="--app-config-values is given without --app-config, the file to put them in")
        if self.file is None:
            return
        if not self.values:
            raise AppConfigUnusable(file=str(self.file), problem="--app-config-values, the values to put there, is missing")
        found = _read(self.file)
        _edited(found, self._filled())
        _refuse_unwritable(found)

    def update(self, migration_id: str) -> AppConfigUpdated | None:
        """Writes the values; the old version of the file is kept beside it. May be called again. Raises AppConfigNotUpdated."""
        if self.file is None:
            return None
        try:
            return _update(self.file, self._filled(), migration_id)
        except AppConfigUnusable as error:
            raise AppConfigNotUpdated(**{"file": str(self.file)} | error.facts) from error
        except OSError as error:
            raise AppConfigNotUpdated(file=str(self.file), problem=error.strerror or type(error).__name__) from error

    def _filled(self) -> dict[str, JSON]:
        return {self._public(name): self._without_secrets(name, self._fill(value)) for name, value in self.values.items()}

    def _public(self, name: str) -> str:
        if redact(name, self.secrets) != name:
            raise AppConfigUnusable(problem="one of the names holds a secret")
        return name

    def _without_secrets(self, name: str, value: JSON) -> JSON:
        if any(_is_secret(text, self.secrets) for text in _texts(value)):
            problem = "it holds a secret, which does not belong in a file that Firelift writes"
            raise AppConfigUnusable(name=name, problem=problem)
        return value

    def _fill(self, value: JSON) -> JSON:
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if isinstance(value, dict):
            return {key: self._fill(item) for key, item in value.items()}
        return _PLACE.sub(self._place, value) if isinstance(value, str) else value

    def _place(self, found: re.Match[str]) -> str:
        opened, name, closed = found.groups()
        if opened and closed:
            return f"{{{name}}}"
        if opened or closed:
            return found[0]
        if name not in PLACES:
            known = ", ".join(f"{{{place}}}" for place in PLACES)
            raise AppConfigUnusable(
                problem=f"there is no {{{name}}}; there are {known}; write {{{{{name}}}}} for the word in braces itself"
            )
        if name not in self.places:
            raise AppConfigUnusable(problem=f"{{{name}}} is not known: the setting it comes from is not given")
        return self.places[name]


def _update(file: Path, values: Mapping[str, JSON], migration_id: str) -> AppConfigUpdated:
    found = _read(file)
    before = found.file.with_name(f"{found.file.name}.before-{migration_id}")
    while (edited := _edited(found, values)) != found.data:
        if not before.exists():
            _place_beside(found, found.data, lambda new: new.rename(before))
        if _placed(found, edited):
            break
        found = _read(file)
    kept = _read(before, found.kind) if before.exists() else None
    held = {} if kept is None else _values(kept)
    now = found.kind.read(_decoded(edited))
    changed = tuple(name for name in values if kept is not None and (name not in held or held[name] != now.get(name)))
    return AppConfigUpdated(file=str(file), old_file=str(before) if kept else None, changed=changed)


def _values(found: _Found) -> dict[str, JSON]:
    try:
        values: dict[str, JSON] = found.kind.read(found.text)
    except (ValueError, RecursionError):  # somebody else has written there
        return {}
    return values


def _placed(found: _Found, edited: bytes) -> bool:
    """Whether the new text is in place; not where somebody has changed the file since it was read."""
    done: list[bool] = []

    def replace(new: Path) -> None:
        if found.file.read_bytes() == found.data:
            new.replace(found.file)
            done.append(True)

    _place_beside(found, edited, replace)
    return bool(done)


def _place_beside(found: _Found, data: bytes, place: Callable[[Path], object]) -> None:
    """Writes a new file of the found one's mode and owner beside it, whole and on the disk, and has it placed."""
    there = found.file.stat()
    new = found.file.with_name(f".{found.file.name[:80]}.{os.getpid()}-{random.token_hex(4)}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (there.st_uid, there.st_gid):
                os.fchown(descriptor, there.st_uid, there.st_gid)
            os.fchmod(descriptor, there.st_mode & 0o7777)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        place(new)
    finally:
        with suppress(OSError):
            new.unlink()


def _read(file: Path, kind: ModuleType | None = None) -> _Found:
    """The file itself, also where links lead to it; raises AppConfigUnusable."""
    try:
        real = file.resolve(strict=True)
        if real.stat().st_size > _MOST_BYTES:
            raise AppConfigUnusable(file=str(file), problem=f"it has more than {_MOST_BYTES:,} bytes, too many for a configuration file")
        data = real.read_bytes()
        text = _decoded(data)
    except UnicodeDecodeError:
        raise AppConfigUnusable(file=str(file), problem="it is not UTF-8 text") from None
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AppConfigUnusable(file=str(file), problem=f"it cannot be read: {reason}") from None
    return _Found(real, data, text, kind or _kind(file, text))


def _decoded(data: bytes) -> str:
    return data.removeprefix(_BOM).decode()


def _kind(file: Path, text: str) -> ModuleType:
    name = file.name.lower()
    if name.endswith(".json"):
        return json_edit
    if name.endswith(".env") or name.startswith(".env"):
        return dotenv_edit
    return json_edit if text.lstrip().startswith(("{", "[")) else dotenv_edit


def _edited(found: _Found, values: Mapping[str, JSON]) -> bytes:
    try:
        text: str = found.kind.edit(found.text, values)
        return (_BOM if found.data.startswith(_BOM) else b"") + text.encode()
    except UnicodeEncodeError:
        raise AppConfigUnusable(file=str(found.file), problem="a value cannot be written as UTF-8") from None
    except RecursionError:
        raise AppConfigUnusable(file=str(found.file), problem="it is nested too deeply") from None
    except ValueError as error:
        raise AppConfigUnusable(file=str(found.file), problem=str(error)) from None


def _refuse_unwritable(found: _Found) -> None:
    """The file is replaced by a new one: what counts is its directory too, and that its owner can be kept."""
    if not os.access(found.file, os.W_OK):
        raise AppConfigUnusable(file=str(found.file), problem="it may not be written")
    try:
        _place_beside(found, b"", lambda new: None)
    except OSError as error:
        reason = error.strerror or str(error)
        raise AppConfigUnusable(file=str(found.file), problem=f"no new file of the same owner can be put beside it: {reason}") from None


def _texts(value: JSON) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for item in value.values() for text in _texts(item))]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value if isinstance(value, str) else json.dumps(value)]


def _is_secret(text: str, secrets: Sequence[str]) -> bool:
    """Whether it is, or holds, a secret that is known, a password in an address, or what can be nothing but a secret."""
    known = any(secret and secret == text for secret in secrets) or redact(text, secrets) != text
    return known or "PRIVATE KEY-----" in text
