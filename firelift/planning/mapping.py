"""The user's own names for tables and columns, from the file given by --mapping."""

from __future__ import annotations

import json
import typing
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from firelift.errors import ConfigurationError
from firelift.planning.naming import CONVERSIONS, IMPOSSIBLE, MOST_BYTES, key_names


class MappingInvalid(ConfigurationError):
    """The mapping file cannot be used."""

    remedy = 'It is JSON: {"collections": {"users": {"table": "people", "columns": {"createdAt": "joined"}}}}.'


class CollectionMapping(BaseModel):
    model_config = ConfigDict(extra="forbid")
    table: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _different(cls, columns: dict[str, str]) -> dict[str, str]:
        if len(set(columns.values())) < len(columns):
            raise ValueError("two fields have the same column")
        for name in columns.values():
            _usable(name)
            if name == "id" or name.startswith("firestore_"):
                raise ValueError(f"the column name {name!r} is Firelift's own")
        return columns

    @field_validator("table")
    @classmethod
    def _table(cls, table: str | None) -> str | None:
        return table if table is None else _usable(table)


class Mapping(BaseModel):
    """Names by collection path. Everything else is named by the rules of `naming`."""

    model_config = ConfigDict(extra="forbid")
    collections: dict[str, CollectionMapping] = Field(default_factory=dict)

    def table(self, collection: str) -> str | None:
        mapped = self.collections.get(collection)
        return mapped.table if mapped else None

    def column(self, collection: str, path: Sequence[str]) -> str | None:
        """The name given to the column of a field; a mapping names top-level fields only."""
        mapped = self.collections.get(collection)
        return mapped.columns.get(path[0]) if mapped and len(path) == 1 else None

    def idle(self, fields: typing.Mapping[str, Collection[str]]) -> list[str]:
        """Names in the mapping that do not occur in the database: collections, and fields as `collection: field`."""
        missing = [collection for collection in self.collections if collection not in fields]
        for collection in self.collections.keys() - set(missing):
            unknown = self.collections[collection].columns.keys() - set(fields[collection])
            missing.extend(f"{collection}: {field}" for field in sorted(unknown))
        return sorted(missing)

    @field_validator("collections")
    @classmethod
    def _distinct(cls, collections: dict[str, CollectionMapping]) -> dict[str, CollectionMapping]:
        tables = [mapped.table for mapped in collections.values() if mapped.table]
        if len(set(tables)) < len(tables):
            raise ValueError("two collections have the same table")
        for path, mapped in collections.items():
            keys = {key for naming in CONVERSIONS for key in key_names(path, naming)}
            if taken := keys & set(mapped.columns.values()):
                raise ValueError(f"the column name {min(taken)!r} is a key of the table of {path}")
        return collections


def read_mapping(path: Path | str | None) -> Mapping:
    """The mapping in a file; an empty one without a file."""
    if path is None:
        return Mapping()
    try:
        return Mapping.model_validate(json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates))
    except OSError as error:
        raise MappingInvalid(file=str(path), reason=error.strerror) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise MappingInvalid(file=str(path), at=".".join(map(str, first["loc"])), reason=first["msg"]) from error
    except RecursionError:
        raise MappingInvalid(file=str(path), reason="it is nested too deeply") from None
    except ValueError as error:
        raise MappingInvalid(file=str(path), reason=str(error)) from error


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """JSON may have a name twice, and Python would silently take the last one."""
    if twice := [name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number])]:
        raise ValueError(f"{twice[0]!r} is named twice")
    return dict(pairs)


def _usable(name: str) -> str:
    if not name or "\0" in name or len(name.encode()) > MOST_BYTES:
        raise ValueError("a name has 1 to 63 bytes and no NUL")
    if name in IMPOSSIBLE:
        raise ValueError(f"Postgres reserves the name {name!r}")
    return name
