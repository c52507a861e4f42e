"""No function, relation or reg… type of PostgreSQL's own is named in our SQL without its schema, whatever the search_path says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "firelift" / "postgres"
"""The only one that speaks SQL to PostgreSQL."""

# What stands before a bracket and is looked up nowhere. `filter`, `over` and the like are words of the language as well.
GRAMMAR = re.compile(
    "all|and|any|array|as|between|btree|by|case|cast|check|coalesce|conflict|distinct|else|enum|except|exists|filter|from|greatest|group"
    "|having|if|in|intersect|is|join|key|lateral|least|like|limit|not|nullif|offset|on|only|or|order|over|partition|repeatable|returning"
    "|row|select|set|some|stdin|stdout|then|union|unique|using|values|when|where|with|within",
    re.IGNORECASE,
)
# Called like a function by a comma, built into the grammar by a word between the arguments.
WORDED = {"substring": "FROM|FOR|SIMILAR", "position": "IN", "overlay": "PLACING", "extract": "FROM", "trim": "FROM"}
CALL = re.compile(r"""(?<![\w."$%:])(?P<name>[a-z_]\w*)\s*\((?=(?P<inside>[^()]*))""", re.IGNORECASE)
# A list of columns behind a name that the statement itself gives, and the name of a WITH query.
NAMES_ITSELF = re.compile(r"\b(?:AS|TABLE|INTO|FUNCTION)\s+\Z", re.IGNORECASE)
WITH_QUERY = re.compile(r"\([^()]*\)\s+AS\s+(?:(?:NOT\s+)?MATERIALIZED\s+)?\(", re.IGNORECASE)
OTHERS = [
    # `pg_class.oid` is a column of what FROM names, 'pg_class' a text, such as obj_description wants.
    re.compile(r"""(?<![\w.'"$%])pg_(?!(?:catalog|temp)\b)\w+\b(?!\s*[.(])"""),
    re.compile(r"'pg_(?!catalog\.)\w+'\s*::"),
    re.compile(r"(?<![\w.])reg(?:class|type|namespace|role|proc|procedure|oper|operator|collation|config|dictionary)\b"),
]


def unqualified(text: str) -> list[str]:
    """What is called or named in a piece of SQL by its bare name, comments aside."""
    code = re.sub(r"--[^\n]*", "", text)
    calls = [found["name"] for found in CALL.finditer(code) if not _is_grammar(found, code)]
    return calls + [found[0] for pattern in OTHERS for found in pattern.finditer(code)]


def _is_grammar(found: re.Match[str], code: str) -> bool:
    name = found["name"].lower()
    if name in WORDED:
        return re.search(rf"\b(?:{WORDED[name]})\b", found["inside"]) is not None
    return bool(GRAMMAR.fullmatch(name) or NAMES_ITSELF.search(code[: found.start()]) or WITH_QUERY.match(code, found.end() - 1))


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that could be SQL or a piece of it, with its line: all but docstrings, an error's words and patterns."""
    tree = ast.parse(path.read_text())
    words = {part for node in ast.walk(tree) for said in _words(node) for part in ast.walk(said)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in words and isinstance(node.value, str | bytes):
            yield node.lineno, node.value if isinstance(node.value, str) else node.value.decode()


def _words(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [node.value]
    if isinstance(node, ast.ClassDef):
        return [each for each in node.body if isinstance(each, ast.Assign | ast.AnnAssign)]
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
        return list(node.args)
    return [node] if isinstance(node, ast.Raise) else []


# errors.py knows what PostgreSQL answers, and asks it nothing.
MODULES = [path for path in sorted(ROOM.rglob("*.py")) if path.name != "errors.py"]


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.sql")), ids=lambda path: path.name)
def test_a_file_of_sql_calls_nothing_by_its_bare_name(path: Path) -> None:
    assert unqualified(path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_calls_nothing_by_its_bare_name(path: Path) -> None:
    assert [f"{line}: {name}" for line, text in texts(path) for name in unqualified(text)] == []


def test_what_is_left_out_speaks_no_sql() -> None:
    others = set((ROOT / "firelift").rglob("*.py")) - set(MODULES)
    assert [path.name for path in others if re.search(r"\bSQL\(|\bQUERY\b", path.read_text())] == []
    assert [
        path
        for path in others - {ROOM / "session" / "errors.py"}
        if re.search(r"^\s*(?:import|from) (?:psycopg|sqlalchemy)\b", path.read_text(), re.M)
    ] == []
    # Prefect's own tables are made in a new SQLite file, where nobody else has been.
    sqlite = set((ROOT / "firelift" / "local" / "prefect_server").glob("prefect-*.sql"))
    assert set((ROOT / "firelift").rglob("*.sql")) - sqlite == set(ROOM.rglob("*.sql"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("SELECT count(*) FROM x.y", ["count"]),
        ("count(*)", ["count"]),
        ("max ({})", ["max"]),
        ("SELECT COUNT (*)", ["COUNT"]),
        ("coalesce(pg_column_size({}), 0)", ["pg_column_size"]),
        ("a text DEFAULT now()", ["now"]),
        ("left(substring({}, 2), 1)", ["left", "substring"]),
        ("ALTER COLUMN a TYPE jsonb USING to_jsonb(a)", ["to_jsonb"]),
        ("FROM a TABLESAMPLE SYSTEM (1)", ["SYSTEM"]),
        ("AS 'BEGIN PERFORM set_config(a, b); END'", ["set_config"]),
        ("FROM a JOIN pg_class AS c ON pg_class.oid = a", ["pg_class"]),
        ("FROM firelift.tables, unnest(a) AS key (number)", ["unnest"]),
        ("classid = 'pg_class'::pg_catalog.regclass", ["'pg_class'::"]),
        ("'pg_catalog.pg_class'::regclass", ["regclass"]),
        ("CAST(a AS regtype)", ["regtype"]),
    ],
)
def test_a_bare_name_is_found(text: str, named: list[str]) -> None:
    assert unqualified(text) == named


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_catalog.count(*) FILTER (WHERE a IN (1)) OVER (ORDER BY b) -- max(a) of pg_class",
        "WITH RECURSIVE used (a, b) AS (SELECT 1, 2), more (c) AS MATERIALIZED (VALUES (1)) SELECT ROW(a), array(SELECT b) FROM used",
        "SELECT FROM (VALUES (1)) AS wanted (name) JOIN pg_catalog.pg_class USING (name) WHERE pg_class.oid = ANY (%(oids)s)",
        "INSERT INTO firelift.tables (a) VALUES (nullif(greatest(a, 0), 0)) ON CONFLICT (a) DO NOTHING",
        "CREATE TEMPORARY TABLE keys (a int, UNIQUE (a), FOREIGN KEY (a) REFERENCES pg_temp.other ({}))",
        "substring({} FROM {})::numeric(3), b::bit(64), 'pg_catalog.pg_class'::pg_catalog.regclass",
        "SET search_path TO pg_catalog, pg_temp",
        "pg_catalog.obj_description(oid, 'pg_namespace')",
    ],
)
def test_a_name_of_the_grammar_or_of_the_statement_is_none(text: str) -> None:
    assert unqualified(text) == []
