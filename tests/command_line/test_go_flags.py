"""Command lines in the syntax of Go programs: ``criwist.command_line.go_flags``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criwist.command_line.go_flags import CommandLine, Flag, FlagError, Given, read_flags

FLAGS = {
    "endpoint": Flag("endpoint"),
    "container-runtime-endpoint": Flag("endpoint"),
    "logtostderr": Flag("logtostderr", boolean=True),
    "v": Flag("v"),
    "h": Flag("help", boolean=True),
}

READ: list[tuple[list[str], list[tuple[str, str, str]]]] = [
    ([], []),
    (["--endpoint", "a"], [("endpoint", "a", "--endpoint")]),
    (["--endpoint=a"], [("endpoint", "a", "--endpoint")]),
    (["-endpoint=a"], [("endpoint", "a", "-endpoint")]),
    (["-endpoint", "a"], [("endpoint", "a", "-endpoint")]),
    (["--endpoint="], [("endpoint", "", "--endpoint")]),
    (["--endpoint", ""], [("endpoint", "", "--endpoint")]),
    (["--endpoint=a=b"], [("endpoint", "a=b", "--endpoint")]),
    (["--endpoint", "--logtostderr"], [("endpoint", "--logtostderr", "--endpoint")]),
    (["--container-runtime-endpoint=a"], [("endpoint", "a", "--container-runtime-endpoint")]),
    (["--container_runtime_endpoint=a"], [("endpoint", "a", "--container_runtime_endpoint")]),
    (["--logtostderr"], [("logtostderr", "true", "--logtostderr")]),
    (["--logtostderr=false"], [("logtostderr", "false", "--logtostderr")]),
    (["-logtostderr"], [("logtostderr", "true", "-logtostderr")]),
    (["-v=2"], [("v", "2", "-v")]),
    (["--v=2"], [("v", "2", "--v")]),
    (["-v", "2"], [("v", "2", "-v")]),
    (["-v2"], [("v", "2", "-v")]),
    (["-h"], [("help", "true", "-h")]),
    (["--endpoint=a", "--endpoint=b"], [("endpoint", "a", "--endpoint"), ("endpoint", "b", "--endpoint")]),
]

REFUSED = [
    (["--endpont=a"], "there is no option --endpont; do you mean --endpoint?"),
    (["--xyzzy"], "there is no option --xyzzy"),
    (["-x"], "there is no option -x"),
    (["--end=a"], "there is no option --end"),
    (["---endpoint=a"], "there is no option ---endpoint"),
    (["--v2"], "there is no option --v2"),
    (["-htrue"], "there is no option -htrue"),
    (["--endpoint"], "--endpoint: needs a value"),
    (["--=a"], "there is no option --"),
]


@pytest.mark.parametrize(("arguments", "expected"), READ)
def test_read(arguments: list[str], expected: list[tuple[str, str, str]]) -> None:
    """Every spelling that Go's flag libraries accept is parsed, and the original spelling is kept."""
    assert read_flags(arguments, FLAGS) == CommandLine(tuple(Given(*one) for one in expected))


@pytest.mark.parametrize(("arguments", "problem"), REFUSED)
def test_refused(arguments: list[str], problem: str) -> None:
    """Abbreviations, unknown flags and missing values are refused by name, with the nearest known flag."""
    with pytest.raises(FlagError) as caught:
        read_flags(arguments, FLAGS)
    assert str(caught.value).startswith(problem)


def test_arguments() -> None:
    """Arguments that are not flags keep their order, as do all after two dashes; a boolean takes no next argument."""
    line = read_flags(["a", "--logtostderr", "false", "-", "--", "--endpoint"], FLAGS)
    assert line.arguments == ("a", "false", "-", "--endpoint")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=6) | st.sampled_from(["--", "-v", "--v", "--endpoint", "--logtostderr", "-v="])))
def test_any_line(arguments: list[str]) -> None:
    """Every command line is parsed or refused, and no part of it is lost."""
    try:
        line = read_flags(arguments, FLAGS)
    except FlagError:
        return
    assert len(line.given) * 2 + len(line.arguments) + 1 >= len(arguments)
    assert {given.name for given in line.given} <= {flag.name for flag in FLAGS.values()}
