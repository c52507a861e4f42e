"""Loads settings from options, environment and `.env`, and says in one line what is wrong with them, without quoting a secret."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

from firelift.settings.errors import InvalidSetting, UnknownSetting, UnreadableEnvFile
from firelift.settings.fields import NEVER_SHOWN, SECRETS, environment_names_in, option_name
from firelift.settings.secret_shapes import Look, may_be_shown, secret_look

Model = TypeVar("Model", bound=BaseSettings)


def load(model: type[Model], options: Mapping[str, object]) -> Model:
    """The settings of this model, with these options (None: not given) above environment and `.env`; raises ConfigurationError."""
    with problems_named(model, options) as by_alias:
        loaded = model(**by_alias)
    refuse_misplaced_secrets(loaded, options)
    return loaded


@contextmanager
def problems_named(model: type[BaseSettings], options: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    """The options as pydantic takes them; what it finds wrong is said as a ConfigurationError."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in model.model_fields:
            raise UnknownSetting(setting=_named(name))
    try:
        yield {environment_names_in(model, name)[0]: value for name, value in given.items()}
    except ValidationError as error:
        raise _invalid(model, error.errors(include_url=False)[0], given) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableEnvFile(reason=type(error).__name__) from None


def refuse_misplaced_secrets(loaded: BaseSettings, options: Mapping[str, object]) -> None:
    """Every setting but SECRETS is shown in reports and in Prefect: what looks like a secret there is in the wrong place."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in type(loaded).model_fields:
        # Values for the app are looked at when they are filled in: a publishable token is right there.
        if name in SECRETS or name == "app_config_values":
            continue
        value = getattr(loaded, name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str | Path) and (look := secret_look(str(text))) is not None:
                raise InvalidSetting(**_misplaced(type(loaded), name, given, "cannot be used", look))


def _invalid(model: type[BaseSettings], problem: ErrorDetails, options: Mapping[str, object]) -> InvalidSetting:
    """One line of what pydantic found; the value only where it can be no secret, else what it looks like and where it belongs."""
    alias = str(problem["loc"][0])
    name = next((field for field in model.model_fields if alias in (field, *environment_names_in(model, field))), alias)
    text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    value = problem.get("input")
    look = secret_look(str(value)) if isinstance(value, str | Path) else None
    if look is not None and not (name == "database_url" and look.what == "a database URL"):
        return InvalidSetting(**_misplaced(model, name, options, text, look))
    facts: dict[str, object] = {"setting": _source(model, name, options), "problem": text}
    if isinstance(value, str | int | float | Path) and _may_be_shown(name, str(value)):
        facts["value"] = str(value) if isinstance(value, Path) else value
    return InvalidSetting(**facts)


def _may_be_shown(name: str, value: str) -> bool:
    # What ends like the name of a key file is one: no key and no password comes to that by itself.
    named = name == "firebase_service_account" and value.endswith(".json") and "@" not in value
    return may_be_shown(value) and (named or name not in NEVER_SHOWN)


def _misplaced(model: type[BaseSettings], name: str, options: Mapping[str, object], problem: str, look: Look) -> dict[str, object]:
    field = model.model_fields.get(name)
    wanted = "a path" if field is not None and Path in (field.annotation, *get_args(field.annotation)) else _WANTED.get(name)
    explained = f"{problem}: it looks like {look.what}" + (f", not {wanted}" if wanted else "")
    return {"setting": _source(model, name, options), "problem": explained, "instead": look.belongs}


_WANTED = {"supabase_url": "the project's https:// address", "database_url": "a database URL", "firestore_emulator_host": "HOST:PORT"}


def _named(name: str) -> str:
    return name if may_be_shown(name) else "one that is not shown"


def _source(model: type[BaseSettings], name: str, options: Mapping[str, object]) -> str:
    if name in options or name not in model.model_fields:
        return option_name(name) if name in model.model_fields else name
    upper = {variable.upper() for variable in os.environ}
    variable = next((alias for alias in environment_names_in(model, name) if alias in upper), None)
    return variable or f"{_in_env_file(model, name)} in .env"


def _in_env_file(model: type[BaseSettings], name: str) -> str:
    there = {variable.upper() for variable in dotenv_values(".env")}
    return next((alias for alias in environment_names_in(model, name) if alias in there), environment_names_in(model, name)[0])
