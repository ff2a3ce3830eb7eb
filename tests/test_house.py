"""The size of functions and the names of modules."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 60
GENERATED = ROOT / "criwist/api/runtime"
#: Names that do not say what a module has.
VAGUE_NAMES = {"requests", "faults", "utils", "helpers", "common", "misc", "manager", "handler"}


def functions() -> Iterator[tuple[str, int]]:
    """Yield ``path::name`` and the number of lines of each function of the product and of its tests."""
    for package in ("criwist", "tests"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.is_relative_to(GENERATED):
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    yield f"{path.relative_to(ROOT)}::{node.name}", lines


def test_functions_fit_on_a_screen() -> None:
    """No function has more than 60 lines."""
    assert {name for name, lines in functions() if lines > MAX_LINES} == set()


def test_module_names_say_what_is_inside() -> None:
    """No module of the product has a name that says nothing."""
    names = {path.stem for path in (ROOT / "criwist").rglob("*.py")}
    assert names & VAGUE_NAMES == set()
