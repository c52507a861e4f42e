"""The versions with which Prefect works: what installs by default is broken, and says so late or never."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
# A package may be locked in several versions, each for some versions of Python.
LOCKED = re.findall(r"^([\w.-]+)(?:\[[\w, -]+\])?==([^\s;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
REQUIRED = {
    requirement.name: requirement
    for requirement in map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
}

# That a schedule makes runs with these is tested against a server in tests/acceptance/test_deployments.py.
PINS = [
    ("prefect", ">=3.9.1,<3.10"),  # with older ones and SQLAlchemy 2.1 schedules silently never create a run
    ("fastapi", ">=0.139,<0.151"),  # as Prefect 3.9 has it; with 0.156 Prefect 3.8 ran no flow and started no server
    ("sqlalchemy", ">=2.0.40,<2.2"),
]


def locked(name: str) -> list[str]:
    return [found for package, found in LOCKED if package == name]


@pytest.mark.parametrize(("name", "pin"), PINS)
def test_the_version_is_pinned_and_locked_within_the_pin(name: str, pin: str) -> None:
    assert REQUIRED[name].specifier == Requirement(name + pin).specifier
    assert list(REQUIRED[name].specifier.filter(locked(name))) == locked(name)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_is_installed_is_what_is_locked(name: str) -> None:
    assert version(name) in locked(name)
    assert REQUIRED[name].specifier.contains(version(name))


def test_prefect_yaml_asks_for_the_same_prefect() -> None:
    found = re.search(r'^prefect-version: "(.+)"$', (ROOT / "prefect.yaml").read_text(), re.MULTILINE)
    assert found
    assert Requirement("prefect" + found[1]).specifier == REQUIRED["prefect"].specifier
