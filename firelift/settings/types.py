"""What a setting may be: how its text is read, and what is refused with which words."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, JsonValue, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from firelift.settings.secret_shapes import secret_look

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

LevelName = Literal["basic", "standard", "comprehensive"]
"""The verification levels, each of which includes those before it."""

_ESCAPE = "cannot be parsed: write special characters of the password as %XX (@ is %40, / is %2F, : is %3A, # is %23, ? is %3F)"


def _listed(value: object) -> object:
    """Comma-separated text becomes a list; a JSON list is for names with a comma in them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("starts like a JSON list but is not one") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _collection_globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        if not all(glob.split("/")):
            raise ValueError("is not a collection path such as `users` or `users/*/orders`")
    return globs


def _plain_file(path: Path | None, info: ValidationInfo) -> Path | None:
    if path is None:
        return None
    if str(path).lstrip("'\" \n\t").startswith(("{", "-----BEGIN")) or secret_look(str(path)) is not None:
        raise ValueError("must be the path of a file, not its content")
    path = path.expanduser()
    # Google's clients ignore the key file where an emulator is named: a left-over variable must not stop a test.
    if info.field_name == "firebase_service_account" and info.data.get("firestore_emulator_host"):
        return path
    if not path.is_file():
        raise ValueError("there is no file of this name")
    if not os.access(path, os.R_OK):
        raise ValueError("the file may not be read")
    return path


def _postgres_url(value: SecretStr) -> SecretStr:
    url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", value.get_secret_value().strip())
    if url.startswith(("http://", "https://")):
        raise ValueError("must look like postgresql://user@host:5432/database: an https:// address of a project goes to SUPABASE_URL")
    if not url.startswith("postgresql://"):
        raise ValueError("must look like postgresql://user@host:5432/database, with the password after the user")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(_ESCAPE) from None
    # Raw special characters would move the end of the password: the rest of it would become the host.
    if parts.fragment or "@" in parts.path + parts.query or parts.netloc.count("@") > 1:
        raise ValueError(_ESCAPE)
    return SecretStr(url)


def _http_url(value: str) -> str:
    url = value.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must look like https://your-project.supabase.co")
    return url


def emulator_address(value: str) -> str:
    """`HOST:PORT` of an emulator, also where it was written as an http:// address; raises ValueError."""
    text = value.strip()
    if "@" in text:
        raise ValueError("must be HOST:PORT, without user or password")
    scheme, separator, rest = text.rpartition("://")
    if separator and scheme.lower() != "http":
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080, or http://HOST:PORT: an emulator speaks nothing else")
    address = rest.removesuffix("/")
    found = re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]):([0-9]{1,5})", address)
    if found is None or not 1 <= int(found[2]) <= 65_535:
        raise ValueError("must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
    return address


def is_run_name(value: object) -> bool:
    """Whether a run may be called so: its name becomes that of a directory."""
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value)) and set(value) != {"."}


def _run_name(value: str) -> str:
    if not is_run_name(value):
        raise ValueError("must be 1 to 100 letters, digits, dots, dashes or underscores")
    return value


def _schema_name(value: str) -> str:
    if not value or "\0" in value or len(value.encode()) > 63:
        raise ValueError("must be a schema name of 1 to 63 bytes")
    if value.startswith(("pg_", "firelift")) or value == "information_schema":
        raise ValueError("belongs to PostgreSQL or to Firelift itself")
    return value


def _resource_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9()_.:-]{1,100}", value):
        raise ValueError("may hold letters, digits and dashes only")
    return value


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rows_or_share(value: str) -> str:
    text = value.replace(" ", "")
    if not re.fullmatch(r"[0-9]{1,15}|[0-9]{1,3}(\.[0-9]+)?%", text):
        raise ValueError("must be a number of rows such as 5000, or a share such as 20%")
    if text.endswith("%") and float(text[:-1]) > 100:
        raise ValueError("is more than 100%")
    return text


def _moment(value: str) -> str:
    if value in ("now", "minute"):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be `now`, `minute` or a time such as 2026-11-22T10:30:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, such as 2026-11-22T10:30:00Z")
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None
    if in_utc > datetime.now(UTC):
        raise ValueError("lies in the future")
    return in_utc.isoformat().replace("+00:00", "Z")


def _working_dir(path: Path) -> Path:
    return path.expanduser()


def _named_values(value: object) -> object:
    """NAME=VALUE parts, separated by commas, become a dictionary; a JSON object may hold anything."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            return json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ValueError("starts like a JSON object but is not one") from None
    parts = [part.partition("=") for part in value.split(",") if part.strip()]
    for name, equals, _ in parts:
        if not name.strip() or not equals:
            raise ValueError("one of the parts between commas is not NAME=VALUE")
    return {name.strip(): content.strip() for name, _, content in parts}


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


PhaseName = Literal["pre_validation", "extraction", "transformation", "import", "verification", "post_migration"]
Phases = Annotated[tuple[PhaseName, ...], NoDecode, BeforeValidator(_listed)]
Globs = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_collection_globs)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
AppConfigValues = Annotated[dict[str, JsonValue], NoDecode, BeforeValidator(_named_values)]
ExistingFile = Annotated[Path | None, AfterValidator(_plain_file)]
ResourceId = Annotated[str, AfterValidator(_resource_id)]
RunName = Annotated[str, AfterValidator(_run_name)]
WorkingDir = Annotated[Path, AfterValidator(_working_dir)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_postgres_url)]
EmulatorAddress = Annotated[str, AfterValidator(emulator_address)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
SchemaName = Annotated[str, AfterValidator(_schema_name)]
Moment = Annotated[str, AfterValidator(_moment)]
MaxDeletes = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_rows_or_share)]
