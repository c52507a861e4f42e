"""A flow's parameters, made from the settings: what the Prefect run form shows is what the command takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from firelift.settings.settings import PUBLIC_FIELDS, Settings

F = TypeVar("F", bound=Callable[..., Any])


def takes_settings(function: F) -> F:
    """Gives `function(**options)` one named parameter a setting, None meaning "from the environment or the default"."""
    function.__signature__ = inspect.Signature([_parameter(name) for name in PUBLIC_FIELDS])  # type: ignore[attr-defined]
    # Prefect has a parameter's description from the docstring, and from nowhere else.
    described = [f"    {name}: {Settings.model_fields[name].description}" for name in PUBLIC_FIELDS]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Args:", *described])
    return function


def _parameter(name: str) -> inspect.Parameter:
    setting = Settings.model_fields[name]
    # Bounds and validators belong to a value that is given, not to None.
    given: Any = Annotated[setting.annotation, *setting.metadata] if setting.metadata else setting.annotation
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=given | None)
