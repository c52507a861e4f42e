"""The parameters of the flow are the settings: nothing more, nothing less, and no secret."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from firelift.settings.fields import SECRETS
from firelift.settings.settings import PUBLIC_FIELDS, Settings
from flows.migration import migration

FLOW: Flow[Any, Any] = migration


def validated(**parameters: Any) -> dict[str, Any]:
    return FLOW.validate_parameters(parameters)


def properties() -> dict[str, Any]:
    found: dict[str, Any] = parameter_schema(FLOW.fn).model_dump()["properties"]
    return found


def test_there_is_a_parameter_for_every_setting_but_the_secrets() -> None:
    assert list(properties()) == list(PUBLIC_FIELDS)
    assert set(Settings.model_fields) - set(properties()) == set(SECRETS)


def test_every_parameter_is_described_as_on_the_command_line() -> None:
    assert {name: shown.get("description") for name, shown in properties().items()} == {
        name: Settings.model_fields[name].description for name in PUBLIC_FIELDS
    }


def test_no_parameter_is_required() -> None:
    assert parameter_schema(FLOW.fn).required == []


def test_choices_and_bounds_are_in_the_form() -> None:
    assert {"enum": ["snake_case", "preserve"], "type": "string"} in properties()["naming"]["anyOf"]
    assert {"minimum": 1, "maximum": 64, "type": "integer"} in properties()["max_workers"]["anyOf"]


def test_what_is_not_given_is_none_so_that_environment_and_default_decide() -> None:
    # Without defaults of its own the flow cannot hide those of the worker's environment.
    assert {name: shown.get("default") for name, shown in properties().items()} == dict.fromkeys(PUBLIC_FIELDS)
    bound = inspect.signature(FLOW.fn).bind()
    bound.apply_defaults()
    assert validated(**bound.arguments) == dict.fromkeys(PUBLIC_FIELDS)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("batch_size", 0),
        ("batch_size", "many"),
        ("max_workers", 65),
        ("max_rejects", -1),
        ("max_deletes", "half"),
        ("naming", "kebab-case"),
        ("foreign_keys", "maybe"),
        ("target_schema", "pg_catalog"),
        ("migration_id", "no/slash"),
        ("dry_run", "perhaps"),
        ("collections", ["users//orders"]),
    ],
)
def test_a_value_out_of_bounds_is_refused(parameter: str, value: Any) -> None:
    with pytest.raises(ParameterTypeError, match=parameter):
        validated(**{parameter: value})


@pytest.mark.parametrize(
    ("parameter", "value", "means"),
    [
        ("collections", ["users", "users/*/orders"], ("users", "users/*/orders")),
        ("collections", "users,orgs", ("users", "orgs")),
        ("batch_size", 100, 100),
        ("max_deletes", 5000, "5000"),
        ("max_deletes", "12.5 %", "12.5%"),
        ("dry_run", True, True),
        ("migration_id", "friday.1", "friday.1"),
    ],
)
def test_a_good_value_arrives(parameter: str, value: Any, means: Any) -> None:
    assert validated(**{parameter: value})[parameter] == means


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_no_parameter(secret: str) -> None:
    assert secret not in inspect.signature(FLOW.fn).parameters
