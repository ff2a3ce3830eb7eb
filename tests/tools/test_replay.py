"""Scripts of calls, their answers as fields, and the comparison of two runtimes' answers."""

from __future__ import annotations

import time
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from criwist.api.runtime.v1 import api_pb2 as api
from tests.harness.replay import request_of
from tests.harness.replay_answers import Answer, Comparison, Names, fields_of
from tests.harness.replay_script import Script, ScriptError, matches, parse_script, substitute
from tools.node.places import ROOT

POD = "a" * 64
NAMES = Names({"pod": POD, "name": "pod-1"}, "/run/runtime")
SCRIPT = """\
# One call
# and another.

include shared

> RunPodSandbox
  config { metadata { name: "$name" } }
keep pod = pod_sandbox_id

# between the calls
> PodSandboxStatus
  pod_sandbox_id: "$pod:12"
until status.state = SANDBOX_READY
expect status.network.ip = *
differs status.labels[*]
  criwist: on*
  containerd: none
  because: of a reason
    in two lines.
"""
SHARED = """\
# Shared
differs PodSandboxStatus timestamp
  criwist: <time>
  containerd: none
  because: of another.
"""


def script(text: str = SCRIPT) -> Script:
    """Read a script, in which ``shared`` can be included."""
    return parse_script("a.cri", text, {"shared": SHARED}.__getitem__)


class TextTests(SynchronousTestCase):
    """The text form."""

    def test_script(self) -> None:
        """A script has calls with their requests, and what is known of the answers."""
        read = script()
        self.assertEqual(read.about, "One call and another.")
        run, status = read.steps
        self.assertEqual((run.method, run.keeps, run.line), ("RunPodSandbox", {"pod": "pod_sandbox_id"}, 6))
        self.assertEqual([(one.path, one.pattern) for one in status.until], [("status.state", "SANDBOX_READY")])
        self.assertEqual([(one.path, one.pattern) for one in status.expected], [("status.network.ip", "*")])
        known = read.difference(status, "status.labels[app]")
        assert known is not None
        self.assertEqual((known.of("criwist"), known.of("containerd")), ("on*", "none"))
        self.assertEqual((known.reason, known.where), ("of a reason in two lines.", "a.cri:15"))

    def test_difference_of_a_method(self) -> None:
        """A difference before the first call is one of all calls of its method."""
        read = script()
        run, status = read.steps
        known = read.difference(status, "timestamp")
        assert known is not None
        self.assertEqual(known.where, "shared:2")
        self.assertIsNone(read.difference(run, "timestamp"))

    def test_request(self) -> None:
        """A request is protobuf's text, with variables or the beginnings of them."""
        run, status = script().steps
        self.assertEqual(request_of(run, {"name": "x"}).config.metadata.name, "x")  # type: ignore[attr-defined]
        self.assertEqual(request_of(status, {"pod": POD}).pod_sandbox_id, "a" * 12)  # type: ignore[attr-defined]

    def test_variables(self) -> None:
        """Two dollar signs are one, and an unknown variable is an error."""
        self.assertEqual(substitute("$$! $a:2 $a", {"a": "xyz"}), "$! xy xyz")
        self.assertRaises(KeyError, substitute, "$b", {"a": ""})

    def test_texts(self) -> None:
        """A script can give a text a name, with variables in it that are known there."""
        read = script('# About\nlet sandbox\n  hostname: "$name"\n> RunPodSandbox\n  config { $sandbox }\n')
        request = request_of(read.steps[0], read.variables({"name": "x"}))
        self.assertEqual(request.config.hostname, "x")  # type: ignore[attr-defined]

    def test_patterns(self) -> None:
        """A star stands for anything, and everything else for itself."""
        self.assertTrue(matches("a[*].b*", "a[0].bc\n"))
        self.assertFalse(matches("a.c", "abc"))

    def test_faults(self) -> None:
        """What is no script is refused with file and line."""
        for text, words in (
            ("", "a script begins with a comment"),
            ("# About\n> Version\nexpects a = b\n", "a.cri, line 3: not understood: expects a = b"),
            ("# About\n> Version\nexpect a\n", "a.cri, line 3: without ' = '"),
            ("# About\n> Version\ndiffers a\n  criwist: b\n", "a.cri, line 4: what criwist has"),
            ("# About\n> Version\ndiffers a\n  docker: b\n", "not understood:   docker: b"),
        ):
            self.assertIn(words, str(self.assertRaises(ScriptError, script, text)))


class FieldTests(SynchronousTestCase):
    """Messages as fields."""

    def test_values(self) -> None:
        """Every field that is set has its path and its value, and so has an enumeration that is not."""
        message = api.ContainerStatusResponse(
            status=api.ContainerStatus(
                exit_code=3,
                labels={"b": "2", "a": ""},
                mounts=[api.Mount(container_path="/x", readonly=True)],
                user=api.ContainerUser(linux=api.LinuxContainerUser()),
            ),
            info={"info": "{}"},
        )
        self.assertEqual(
            fields_of(message, NAMES),
            {
                "info[info]": "<json>",
                "status.exit_code": "3",
                "status.labels[a]": '""',
                "status.labels[b]": "2",
                "status.mounts[0].container_path": "/x",
                "status.mounts[0].propagation": "PROPAGATION_PRIVATE",
                "status.mounts[0].readonly": "true",
                "status.state": "CONTAINER_CREATED",
                "status.stop_signal": "SIGNAL_RUNTIME_DEFAULT",
                "status.user.linux": "{}",
            },
        )

    def test_values_of_one_run(self) -> None:
        """Variables, ids, addresses, times and measurements are replaced; what cannot be a time is shown."""
        now = time.time_ns()
        status = api.ContainerStatus(id=POD, image_ref="b" * 64, created_at=now, started_at=-1, log_path=f"/{POD}/1\n")
        found = fields_of(status, NAMES)
        self.assertEqual(
            [found[name] for name in ("id", "image_ref", "created_at", "started_at", "log_path")],
            ["<pod>", "<id>", "<time>", "-1", "/<pod>/1\\n"],
        )
        self.assertEqual(fields_of(api.PodIP(ip="fd00::1"), NAMES), {"ip": "<address>"})
        usage = api.CpuUsage(timestamp=now // 10**9, usage_nano_cores=api.UInt64Value())
        expected = {"timestamp": str(now // 10**9), "usage_nano_cores": "<number>"}
        self.assertEqual(fields_of(usage, NAMES), expected)
        self.assertEqual(fields_of(api.Image(uid=api.Int64Value(), size=5), NAMES), {"uid": "0", "size": "<number>"})
        self.assertEqual(fields_of(api.Mount(host_path="/run/runtime/x"), NAMES)["host_path"], "<directory>/x")


def answer(fields: Mapping[str, str] | None = None, *, code: str = "OK") -> Answer:
    """An answer with these fields."""
    return Answer(code, "", fields or {})


class ComparisonTests(SynchronousTestCase):
    """Two runtimes' answers."""

    def complaints(self, ours: Answer, theirs: Answer, *known: str) -> list[str]:
        """What is complained of two answers to one call, in a script with these lines about it."""
        text = "# About\n> Version\n" + "\n".join(known)
        return Comparison(script(text)).of([ours], [theirs])

    def test_no_difference(self) -> None:
        """Equal answers are as they should be."""
        self.assertEqual(self.complaints(answer({"a": "1"}), answer({"a": "1"})), [])

    def test_unexplained_difference(self) -> None:
        """A field that one of them has, or that differs, is a complaint."""
        self.assertEqual(
            self.complaints(answer({"a": "1", "b": "2"}), answer({"a": "3"})),
            ["a.cri:2: Version: a is 1 and 3 (containerd)", "a.cri:2: Version: b is 2 and none (containerd)"],
        )

    def test_explained_difference(self) -> None:
        """An explanation holds for the values that it names."""
        known = ("differs a*", "  criwist: 1", "  containerd: none", "  because: it is so.")
        self.assertEqual(self.complaints(answer({"ab": "1"}), answer(), *known), [])
        (complaint,) = self.complaints(answer({"ab": "2"}), answer(), *known)
        self.assertIn("ab is 2 and none (containerd), not 1 and none", complaint)

    def test_explanation_of_what_is_equal(self) -> None:
        """An explanation of a difference that is gone is a complaint."""
        known = ("differs a", "  criwist: 1", "  containerd: none", "  because: it is so.")
        self.assertEqual(
            self.complaints(answer({"a": "1"}), answer({"a": "1"}), *known), ["a.cri:3: a differs no longer"]
        )
        self.assertEqual(self.complaints(answer(), answer(), "varies a", *known[1:]), [])

    def test_codes(self) -> None:
        """Where the codes differ, the fields are not compared."""
        known = ("differs code", "  criwist: OK", "  containerd: UNIMPLEMENTED", "  because: it is new.")
        refusal = answer(code="UNIMPLEMENTED")
        self.assertEqual(self.complaints(answer({"a": "1"}), refusal, *known), [])
        self.assertEqual(
            self.complaints(answer({"a": "1"}), refusal),
            ["a.cri:2: Version: containerd answers UNIMPLEMENTED (), not OK"],
        )

    def test_expectations(self) -> None:
        """Both runtimes have to fulfil what is expected, but containerd where it is known to differ."""
        wrong = answer({"a": "2"})
        self.assertEqual(len(self.complaints(wrong, wrong, "expect a = 1")), 2)
        known = ("differs a", "  criwist: 1", "  containerd: 2", "  because: it is so.")
        self.assertEqual(self.complaints(answer({"a": "1"}), wrong, "expect a = 1", *known), [])

    def test_equal_lists(self) -> None:
        """Two methods can be expected to answer the same items."""
        text = "# About\n> ListContainers\n> StreamContainers\nequals ListContainers\n"
        lists, other = answer({"items[0].id": "1"}), answer({"containers[0].id": "1"})
        self.assertEqual(Comparison(script(text)).of([lists, other], [lists, other]), [])
        changed = answer({"containers[0].id": "2"})
        self.assertEqual(len(Comparison(script(text)).of([lists, changed], [lists, changed])), 2)


class ScriptsTests(SynchronousTestCase):
    """The scripts that there are."""

    def test_each_request_is_one(self) -> None:
        """All requests are messages of the CRI, and no reason is empty."""
        directory = ROOT / "tests" / "functional" / "replays"
        scripts = sorted(directory.glob("*.cri"))
        self.assertTrue(scripts)
        for path in scripts:
            read = parse_script(path.name, path.read_text(), lambda name: (directory / name).read_text())
            variables = read.variables({"name": "n", "uid": "u", "logs": "l", "pushed": "p"})
            for step in read.steps:
                if not step.reads:
                    request_of(step, variables)
                variables |= dict.fromkeys(step.keeps, POD)
