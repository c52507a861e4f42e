"""The wheel, installed into an environment that has nothing else of Firelift, whoever else bears the names of its packages."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from firelift.local.sample_app import load_sample
from tests.support.command_line import Operator, Said
from tests.support.prefect_servers import CHECKOUT, run, sample_tables, tables_of

SQUATTED = "raise ImportError('another package of this name')\n"


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and a directory in which files bear the names of what Firelift imports."""

    python: Path
    somebody: Operator

    def firelift(self, *arguments: str) -> Said:
        return self.somebody.run([str(self.python.with_name("firelift")), *arguments])

    def runs(self, code: str) -> Said:
        return self.somebody.run([str(self.python), "-P", "-c", code])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    built = run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)], {"PATH": "/usr/bin:/bin"})
    assert built.returncode == 0, built.stderr
    (found,) = directory.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, prefect_api: str, emulator_host: str, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The dependencies are those of the tests' own environment, without its way to the checkout: a directory named in a .pth file has
    its own .pth files passed over."""
    home = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    python = home / "venv" / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    site_packages = next((home / "venv" / "lib").glob("python*/site-packages"))
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    on_path = home / "on-path"
    on_path.mkdir()
    for directory in (site_packages, on_path):
        squat(directory, "flows", "tasks", "expectations")
    surroundings = {
        "PYTHONPATH": str(on_path),
        "FIRESTORE_EMULATOR_HOST": emulator_host,
        "PREFECT_API_URL": prefect_api,
        "MIGRATION_MAX_WORKERS": "1",
    }
    somebody = Operator(home, surroundings)
    somebody.here.mkdir()
    squat(somebody.here, "flows", "tasks", "expectations", "queue", "json", "google")
    return Installed(python, somebody)


def squat(directory: Path, *names: str) -> None:
    for name in names:
        (directory / f"{name}.py").write_text(SQUATTED)


def test_the_wheel_has_one_top_level_name_and_all_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"firelift", "firelift-0.1.0.dist-info"}
    assert {name for name in names if "__pycache__" in name} == set()
    for room in ("firelift", "flows", "tasks", "expectations"):
        beneath = "" if room == "firelift" else "firelift/workflow/"
        files = {f"{beneath}{path.relative_to(CHECKOUT)}" for path in (CHECKOUT / room).rglob("*.*") if path.suffix != ".pyc"}
        assert files - names == set()
    assert {"firelift/workflow/prefect.yaml", "firelift/workflow/deployments/heartbeat.yaml"} <= names


def test_the_installed_command_migrates_and_verifies_where_others_bear_the_names_of_its_packages(
    installed: Installed, emulator_host: str, project: str, database_url: str
) -> None:
    load_sample(emulator_host, project)
    there = {"GOOGLE_CLOUD_PROJECT": project, "DATABASE_URL": database_url}
    mine = Installed(installed.python, installed.somebody.with_(**there))
    migrated = mine.firelift("migrate")
    assert migrated.code == 0, migrated.err
    assert tables_of(database_url) == sample_tables(project)
    assert (mine.somebody.workspace / "verification-results" / "data-docs" / "style.css").exists()
    assert "<svg" in (mine.somebody.workspace / "migration-report.html").read_text()
    verified = mine.firelift("verify")
    assert verified.code == 0, verified.err


LOAD_AS_PREFECT_DOES = """
import os
from prefect.flows import load_flow_from_entrypoint

os.chdir("squatted")
for name in ("migration", "rollback", "verify"):
    print(load_flow_from_entrypoint(f"firelift.deployed.{name}", use_placeholder_flow=False).fn.__code__.co_filename)
"""


def test_a_deployment_finds_the_installed_flows_by_their_module_path(installed: Installed) -> None:
    """Prefect puts the directory of the run first on the path."""
    (installed.somebody.here / "squatted").mkdir()
    squat(installed.somebody.here / "squatted", "flows", "tasks", "expectations")
    said = installed.runs(LOAD_AS_PREFECT_DOES)
    assert said.code == 0, said.err
    beneath = next(installed.python.parents[1].glob("lib/python*/site-packages")) / "firelift" / "workflow"
    assert said.out.split() == [str(beneath / "flows" / f"{file}.py") for file in ("migration", "rollback", "verification")]
    assert installed.firelift("deployments").out.split() == [str(beneath)]
    assert (beneath / "prefect.yaml").read_text() == (CHECKOUT / "prefect.yaml").read_text()


def test_a_module_that_has_taken_a_name_before_is_named(installed: Installed) -> None:
    said = installed.runs("import sys, types; sys.modules['tasks'] = types.ModuleType('tasks'); import firelift.deployed")
    assert said.code == 1
    assert "NameTaken" in said.err
    assert "module: tasks" in said.err
