"""The text form of a replay: the calls of a client, one after another, and what is known of the answers.

A script is read by people.  Its first comment says which client makes these calls::

    # A container's life as kubelet 1.36 asks for it.

    > CreateContainer
      pod_sandbox_id: "$pod"
      config { metadata { name: "main" } image { image: "$image" } }
    keep container = container_id

    > ContainerStatus
      container_id: "$container"
    until status.state = CONTAINER_EXITED
    expect status.exit_code = 137
    differs status.image_id
      criwist: sha256:<id>
      containerd: none
      because: containerd 2.1 does not have the field.

``> METHOD`` begins a call; the indented lines below it are the request in protobuf's text format.  ``$name`` stands for
a variable, ``$name:12`` for its first twelve characters, ``$$`` for a dollar sign.  Then come, at the start of a line:

``keep NAME = PATH``
    The answer's field becomes a variable, and in all answers its value is shown as ``<NAME>``.
``until PATH = PATTERN``
    The call is repeated until the field is so.
``expect PATH = PATTERN``
    The field is so; on containerd, too, unless ``differs`` says otherwise.
``fails CODE``
    The call fails, with this gRPC code.
``equals METHOD``
    The answer has the items that the last answer of another method had.
``background``
    The call returns a stream, which is left open.
``differs PATH``
    The runtimes differ in this field: the values that each of them has, and why.  The path ``code`` is the gRPC code.
    Before the first call it is ``differs METHOD PATH``, for all calls of that method.
``varies PATH``
    The same where it depends on the machine, or on the moment, whether they differ.
``include FILE``
    Before the first call: differences that several scripts have.
``let NAME``
    Before the first call: the indented lines below are a variable's text, which can have variables in it.

``< METHOD`` reads from a stream in the background; ``count NUMBER`` says how many messages.  Their paths begin with
``[0]``, ``[1]`` and so on.  In a pattern and in the path of ``differs``, ``*`` stands for anything.  A field that is
not set is ``none``, an empty message ``{}``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from attrs import define, field, frozen

CRIWIST, CONTAINERD = "criwist", "containerd"
#: How a field that is not set is written, and the path of a call's gRPC code.
NONE = "none"
CODE = "code"
OK = "OK"
_VARIABLE = re.compile(r"\$(?:\$|(\w+)(?::(\d+))?)")


class ScriptError(Exception):
    """A script cannot be read; the text names the file and the line."""


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern, in which ``*`` stands for anything, is that of the whole text."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Fill in variables; KeyError if there is none of that name."""

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        whole = variables[found[1]]
        return whole[: int(found[2])] if found[2] else whole

    return _VARIABLE.sub(value, text)


@frozen
class Condition:
    """A field has a value that matches a pattern."""

    path: str
    pattern: str


@frozen
class Difference:
    """Fields that the runtimes differ in, with patterns of what each has there."""

    path: str
    criwist: str
    containerd: str
    reason: str
    #: Its file and line.
    where: str
    #: Whether an answer without this difference is right, too.
    optional: bool = False

    def of(self, runtime: str) -> str:
        """The pattern of one runtime."""
        return self.criwist if runtime == CRIWIST else self.containerd


@define
class Step:
    """One call of a script, or the reading of a stream in the background."""

    method: str
    line: int
    #: Whether it reads from a stream that an earlier step has opened.
    reads: bool = False
    request: str = ""
    keeps: dict[str, str] = field(factory=dict)
    until: list[Condition] = field(factory=list)
    expected: list[Condition] = field(factory=list)
    differences: list[Difference] = field(factory=list)
    fails: str = OK
    equals: str = ""
    background: bool = False
    count: int = 0


@frozen
class Script:
    """A script: its name, what it is about, and its calls."""

    name: str
    about: str
    steps: tuple[Step, ...]
    #: Differences in the answers to all calls of a method.
    differences: tuple[Difference, ...] = ()
    #: Texts by the name of their variable.
    texts: Mapping[str, str] = MappingProxyType({})

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables that a replay begins with: those given and the script's texts."""
        known = dict(given)
        for name, text in self.texts.items():
            known[name] = substitute(text, known)
        return known

    def all_differences(self) -> tuple[Difference, ...]:
        """The differences of all calls."""
        return (*self.differences, *(each for step in self.steps for each in step.differences))

    def difference(self, step: Step, path: str) -> Difference | None:
        """What is known of a difference in this field; None if there must be none."""
        of_step = (each for each in step.differences if matches(each.path, path))
        of_method = (each for each in self.differences if matches(each.path, f"{step.method} {path}"))
        return next(itertools.chain(of_step, of_method), None)

    def code(self, step: Step, runtime: str) -> str:
        """The gRPC code that a runtime has to answer a step with."""
        known = self.difference(step, CODE)
        return known.of(runtime) if known else step.fails


def read_script(path: Path) -> Script:
    """Read a script from a file; ScriptError if it is none."""
    return parse_script(
        path.name, path.read_text(encoding="utf-8"), lambda name: path.with_name(name).read_text("utf-8")
    )


def parse_script(name: str, text: str, included: Callable[[str], str]) -> Script:
    """Read a script; ScriptError if it is none.  *included* returns the text of an included file."""
    parser = _Parser(name, text.splitlines(), included)
    parser.read()
    return parser.script()


@define
class _Parser:
    _name: str
    _lines: list[str]
    _included: Callable[[str], str]
    _at: int = 0
    _about: list[str] = field(factory=list)
    _steps: list[Step] = field(factory=list)
    _texts: dict[str, str] = field(factory=dict)
    differences: list[Difference] = field(factory=list)

    def read(self) -> None:
        """Read all lines."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if line.startswith("#"):
                if not self._steps:
                    self._about.append(line[1:].strip())
            elif line.strip():
                self._directive(line)

    def script(self) -> Script:
        """What has been read; ScriptError if it is no script."""
        if not self._about or not self._steps:
            raise self._error("a script begins with a comment and has calls")
        return Script(self._name, " ".join(self._about), tuple(self._steps), tuple(self.differences), self._texts)

    def _error(self, words: str) -> ScriptError:
        return ScriptError(f"{self._name}, line {self._at}: {words}")

    def _directive(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word in {">", "<"}:
            self._steps.append(Step(rest.strip(), self._at, reads=word == "<", request=self._block()))
        elif word in {"differs", "varies"}:
            known = self._difference(rest.strip(), optional=word == "varies")
            (self._steps[-1].differences if self._steps else self.differences).append(known)
        elif word == "let" and not self._steps:
            self._texts[rest.strip()] = self._block()
        elif word == "include" and not self._steps:
            other = _Parser(rest, self._included(rest).splitlines(), self._included)
            other.read()
            self.differences += other.differences
        elif self._steps and word in _WORDS:
            _WORDS[word](self, self._steps[-1], rest.strip())
        else:
            raise self._error(f"not understood: {line}")

    def _block(self) -> str:
        """The indented lines from here on."""
        begin = self._at
        while self._at < len(self._lines) and self._lines[self._at].startswith("  "):
            self._at += 1
        return "\n".join(self._lines[begin : self._at])

    def _assignment(self, rest: str) -> tuple[str, str]:
        left, equals, right = rest.partition(" = ")
        if not equals:
            raise self._error(f"without ' = ': {rest}")
        return left.strip(), right.strip()

    def keep(self, step: Step, rest: str) -> None:
        name, path = self._assignment(rest)
        step.keeps[name] = path

    def until(self, step: Step, rest: str) -> None:
        step.until.append(Condition(*self._assignment(rest)))

    def expect(self, step: Step, rest: str) -> None:
        step.expected.append(Condition(*self._assignment(rest)))

    def fails(self, step: Step, rest: str) -> None:
        step.fails = rest

    def equals(self, step: Step, rest: str) -> None:
        step.equals = rest

    def background(self, step: Step, rest: str) -> None:
        step.background = True

    def count(self, step: Step, rest: str) -> None:
        step.count = int(rest)

    def _difference(self, path: str, *, optional: bool) -> Difference:
        where, values = f"{self._name}:{self._at}", dict[str, str]()
        key = ""
        for each in self._block().splitlines():
            head, colon, tail = each.strip().partition(":")
            if colon and head in {CRIWIST, CONTAINERD, "because"}:
                key = head
                values[key] = tail.strip()
            elif key == "because":
                values[key] += " " + each.strip()
            else:
                raise self._error(f"not understood: {each}")
        if len(values) != 3 or not all(values.values()):
            raise self._error("what criwist has, what containerd has, and because")
        return Difference(path, values[CRIWIST], values[CONTAINERD], values["because"], where, optional)


_WORDS: dict[str, Callable[[_Parser, Step, str], None]] = {
    each.__name__: each
    for each in (
        *(_Parser.keep, _Parser.until, _Parser.expect, _Parser.fails, _Parser.equals),
        *(_Parser.background, _Parser.count),
    )
}
