"""Which functional tests run in the node by default."""

from __future__ import annotations

import ast
import fnmatch
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.harness.newer_engines import on_a_node
from tools.node.__main__ import environment
from tools.node.places import ROOT
from tools.node.selection import ELSEWHERE, ON_A_NODE

FUNCTIONAL = ROOT / "tests" / "functional"


def functions_in(path: Path) -> set[str]:
    """Names of the test functions of a module."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in found if isinstance(node, functions) and node.name.startswith("test_")}


class SelectionTests(SynchronousTestCase):
    """The tables are about the tests that there are."""

    def test_each_file_is_decided_on(self) -> None:
        """Every file is either run in the node, with what nodes differ in, or left out, with the reason."""
        files = sorted(path.name for path in FUNCTIONAL.glob("test_*.py"))
        undecided = [
            file for file in files if file not in ON_A_NODE and not any(fnmatch.fnmatch(file, it) for it in ELSEWHERE)
        ]
        self.assertEqual(undecided, [], "add it to ON_A_NODE or to ELSEWHERE of tools/node/selection.py")
        self.assertEqual(set(ON_A_NODE) - set(files), set(), "there is no such file")
        idle = [pattern for pattern in ELSEWHERE if not set(fnmatch.filter(files, pattern)) - set(ON_A_NODE)]
        self.assertEqual(idle, [], "no file is like this")

    def test_each_name_is_a_test(self) -> None:
        """What is chosen exists, so that a renamed test does not end the node's run before it begins."""
        for file, (_, names) in ON_A_NODE.items():
            self.assertEqual(set(names) - functions_in(FUNCTIONAL / file), set(), file)

    def test_the_tests_know_where_they_are(self) -> None:
        """In the node, which has its own engine, nothing is asked for that would have to be fetched."""
        self.patch(os, "environ", environment())
        self.assertTrue(on_a_node())
