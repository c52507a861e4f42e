"""The house stands as it was drawn: who may import whom, and what no file may hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("firelift", "flows", "tasks", "expectations", "benchmarks", "tests")
ENVIRONMENTS = {".venv", ".venv-lowest", ".venv-newest"}
NOT_OURS = ENVIRONMENTS | {".git", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__", "dist", ".env"}
FORGOTTEN = {"migration-workspace", "demo-workspace"}


def files(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions, `import_module("…")` and `TYPE_CHECKING`."""
    return {name for node in ast.walk(ast.parse(path.read_text())) for name in _imported(node, path)}


def _imported(node: ast.AST, path: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        origin = _absolute(node, path)
        yield origin
        yield from (f"{origin}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str))


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def beneath(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def offences(paths: list[Path], *forbidden: str) -> list[str]:
    """`module → what it imports` for every import that should not be."""
    return [f"{module_of(path)} → {name}" for path in paths for name in sorted(imports(path)) if beneath(name, *forbidden)]


def without(paths: list[Path], *packages: str) -> list[Path]:
    return [path for path in paths if not beneath(module_of(path), *packages)]


FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(rooms.split())
    for rooms in (
        "errors paths receipts formatting",
        "files rfc3339 workers settings firelift_home workflow_path",
        "firestore",
        "planning local",
        "storage transform run postgres",
        "verification app_config",
        "modes expectations",
        "phases",
        "migration",
        "tasks",
        "flows",
        "cli",
        "deployed",
    )
)
"""Every room, from the ground up: a module imports only from its own room and from lower floors. docs/architecture.md draws it."""
POSTGRES = ("session", "schema", "load", "inspect", "publish")
ENGINE = ("flows", "tasks", "expectations", "firelift")


def room_of(module: str) -> str:
    """`firelift.planning.model` lies in the room `planning`, `flows.migration` in `flows`."""
    names = module.split(".")
    return names[1] if names[0] == "firelift" and len(names) > 1 else names[0]


def floor_of(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room_of(module) in rooms)


def arrows() -> dict[str, set[str]]:
    """By module, the modules of ours that it imports."""
    # A room that hands on what its modules define, such as `firelift.receipts`, counts as a module too.
    modules = {module_of(path) for path in files(*ENGINE) if path.name != "__init__.py" or path.parent.parent == ROOT / "firelift"}
    return {module_of(path): {name for name in imports(path) if name in modules} - {module_of(path)} for path in files(*ENGINE)}


def test_every_room_stands_on_a_floor_and_imports_only_from_lower_ones() -> None:
    upward = [
        f"{module} → {other}"
        for module, others in arrows().items()
        for other in others
        if room_of(module) != "firelift" and room_of(module) != room_of(other) and floor_of(module) <= floor_of(other)
    ]
    assert upward == []


def test_the_rooms_of_postgres_import_only_from_those_before_them() -> None:
    def place(module: str) -> int:
        return POSTGRES.index(module.split(".")[2])

    inside = {module: others for module, others in arrows().items() if module.startswith("firelift.postgres.") and module.count(".") > 2}
    upward = [
        f"{module} → {other}" for module, others in inside.items() for other in others & inside.keys() if place(other) > place(module)
    ]
    assert upward == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert tuple(TopologicalSorter(arrows()).static_order())


def test_the_house_is_small_enough_to_be_known() -> None:
    rooms = {path.stem for path in (ROOT / "firelift").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert len(rooms) <= 24
    assert {room for floor in FLOORS for room in floor} == rooms | {"flows", "tasks", "expectations"}
    crowded = {str(folder.relative_to(ROOT)): len(modules) for folder, modules in _folders().items() if len(modules) > 15}
    assert crowded == {}


def test_no_module_and_no_function_is_too_long_to_be_read() -> None:
    lengths = {module_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files(*ENGINE)}
    assert {module: lines for module, lines in lengths.items() if lines > 400} == {}
    functions = {
        f"{module_of(path)}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in files(*ENGINE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > 60} == {}
    assert median(functions.values()) <= 7


def test_no_function_takes_more_than_eight_things() -> None:
    taken = {
        f"{module_of(path)}.{node.name}": len({argument.arg for argument in _arguments(node)} - {"self", "cls"})
        for path in files(*ENGINE)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    # Prefect makes the form of a deployment out of a flow's parameters.
    assert {name: number for name, number in taken.items() if number > 8 and not name.startswith("flows.")} == {}


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _folders() -> dict[Path, list[Path]]:
    """The modules of every folder of the engine, without `__init__.py`."""
    found: dict[Path, list[Path]] = {}
    for path in files(*ENGINE):
        if path.name != "__init__.py":
            found.setdefault(path.parent, []).append(path)
    return found


@pytest.mark.parametrize("room", ["firelift", "flows", "tasks", "expectations"])
def test_nothing_that_is_delivered_imports_tests_or_benchmarks(room: str) -> None:
    assert offences(files(room), "tests", "benchmarks") == []


def test_expectations_do_not_know_prefect() -> None:
    assert offences(files("expectations"), "prefect") == []


def test_the_engine_knows_prefect_only_where_prefect_itself_imports_it() -> None:
    assert offences(without(files("firelift"), "firelift.local.prefect_server.steady"), "prefect") == []


def test_only_the_command_deployments_and_the_python_api_start_what_stands_above_the_engine() -> None:
    assert (
        offences(
            without(files("firelift"), "firelift.cli.run", "firelift.migration.api", "firelift.deployed"), "flows", "tasks", "expectations"
        )
        == []
    )


@pytest.mark.parametrize("room", ["run", "postgres", "firestore"])
def test_status_target_and_source_do_not_know_one_another(room: str) -> None:
    others = [f"firelift.{other}" for other in ("run", "postgres", "firestore") if other != room]
    assert offences(files(f"firelift/{room}"), *others) == []


@pytest.mark.parametrize(
    ("foreign", "rooms"),
    [
        (("google", "grpc"), ("firelift.firestore", "firelift.local")),
        (("psycopg", "sqlalchemy"), ("firelift.postgres", "firelift.local")),
        (("great_expectations",), ("expectations",)),
    ],
)
def test_the_foreign_has_one_place(foreign: tuple[str, ...], rooms: tuple[str, ...]) -> None:
    assert offences(without(files("firelift", "flows", "tasks", "expectations"), *rooms), *foreign) == []


def test_great_expectations_is_imported_only_when_it_is_needed() -> None:
    """It takes 8 s."""
    asked = "import sys, expectations, flows.migration; print('great_expectations' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["False"]


def test_the_command_starts_without_the_heavy_ones() -> None:
    heavy = ["prefect", "google", "grpc", "pandas", "pyarrow", "numpy", "sqlalchemy", "psycopg", "great_expectations"]
    asked = f"import sys, firelift.cli.main; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("room", ["flows", "tasks", "expectations"])
def test_a_room_of_prefect_is_a_package_with_a_sentence(room: str) -> None:
    """Without `__init__.py` a worker that was started elsewhere does not find it."""
    assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))


def test_no_flow_file_bears_the_name_of_something_we_import() -> None:
    """Prefect puts `flows/` first on the path: `flows/tasks.py` would stand before `tasks`."""
    imported = {name.split(".")[0] for path in files("firelift", "flows", "tasks", "expectations") for name in imports(path)}
    assert {path.stem for path in files("flows")} & (imported | set(sys.stdlib_module_names)) == set()


@pytest.mark.parametrize("path", files(*ROOMS), ids=module_of)
def test_every_module_opens_with_a_sentence(path: Path) -> None:
    assert path.name == "__init__.py" or (ast.get_docstring(ast.parse(path.read_text())) or "").rstrip().endswith((".", "?", "!", "…"))


@pytest.mark.parametrize("path", files("firelift", "flows", "tasks", "expectations"), ids=module_of)
def test_no_text_file_is_read_or_written_in_whatever_letters_the_locale_knows(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    of_locale = [ast.unparse(call) for call in calls if _is_of_text(call) and "encoding" not in {word.arg for word in call.keywords}]
    assert of_locale == []


def _is_of_text(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text")


def test_no_class_is_a_manager_a_helper_or_utils() -> None:
    classes = [
        f"{module_of(path)}.{node.name}"
        for path in files(*ROOMS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and re.search("Manager|Helper|Utils?$", node.name)
    ]
    assert classes == []
    assert [module_of(path) for path in files(*ROOMS) if re.search("manager|helper|utils", path.stem)] == []


@pytest.mark.parametrize("path", [path for path in files("tests") if path.name.startswith("test_")], ids=module_of)
def test_every_test_module_claims_something(path: Path) -> None:
    tests = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert tests
    assert any(_claims(node) for node in ast.walk(ast.parse(path.read_text())))


def _claims(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.raises", "raises"))


def committed() -> Iterator[tuple[Path, str]]:
    """Every file of the checkout that is text, whether git knows it or not yet."""
    for path in sorted(_ours(ROOT)):
        data = path.read_bytes()
        if b"\0" not in data:
            yield path.relative_to(ROOT), data.decode()


def _ours(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name in NOT_OURS | FORGOTTEN or path.is_symlink():
            continue
        if path.is_dir():
            yield from _ours(path)
        else:
            yield path


# Put together here, so that this file holds none of them.
REGISTRIES = re.compile("|".join(re.escape(".".join(name)) for name in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org")]))
MACHINE = re.compile(r"(?<![\w.~*])/" + "(?:work|root|home/[a-z]+)/")
INDEX = re.compile(r"--(?:extra-)?index-url[ =]\S|^-i |\bindex-url *=", re.MULTILINE)


@pytest.mark.parametrize("pattern", [REGISTRIES, MACHINE, INDEX], ids=["registry", "path of a machine", "index address"])
def test_no_file_names(pattern: re.Pattern[str]) -> None:
    assert [f"{path}: {found[0]}" for path, text in committed() if (found := pattern.search(text))] == []


def test_every_package_of_the_lock_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=\S)", text.replace("\\\n", " "), flags=re.MULTILINE)
    packages = [entry for entry in entries if entry.strip() and not entry.startswith("#")]
    assert len(packages) > 50
    assert [entry.split()[0] for entry in packages if not re.fullmatch(_LOCKED, entry.strip())] == []


_LOCKED = re.compile(r"[\w.-]+(?:\[[\w, -]+\])?==[\w.!+]+(?: *;[^\n]*?)?(?:\s+--hash=sha256:[0-9a-f]{64})+")
