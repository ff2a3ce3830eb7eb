"""A plugin's environment and standard input, and libcni's cache."""

from __future__ import annotations

import base64
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.netconf.cache import Cached, cache_file_name, read_cached, write_cached
from criwist.netconf.invocations import Attachment, configuration, environment
from criwist.netconf.lists import parse_list
from criwist.netconf.plugin_errors import MalformedDocument, PluginError, quote_output, read_plugin_error

LIST = parse_list(
    json.dumps(
        {
            "name": "net",
            "cniVersion": "1.0.0",
            "plugins": [
                {"type": "bridge", "name": "other", "cniVersion": "0.1.0", "mtu": 1400},
                {"type": "portmap", "capabilities": {"portMappings": True, "bandwidth": False}},
            ],
        }
    )
)
ATTACHMENT = Attachment(
    "c" * 64,
    "/proc/7/ns/net",
    "eth0",
    (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web-0")),
    {"portMappings": [{"hostPort": 80}], "bandwidth": {"ingressRate": 1}},
)


class InvocationTests(SynchronousTestCase):
    """Environment and standard input."""

    def test_environment(self) -> None:
        """A pod's call has the specification's variables."""
        self.assertEqual(
            environment("ADD", ATTACHMENT, ("/opt/cni/bin", "/usr/lib/cni")),
            {
                "CNI_COMMAND": "ADD",
                "CNI_CONTAINERID": "c" * 64,
                "CNI_NETNS": "/proc/7/ns/net",
                "CNI_IFNAME": "eth0",
                "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web-0",
                "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
            },
        )

    def test_environment_without_pod(self) -> None:
        """A call for no pod has no variables of one."""
        self.assertEqual(environment("STATUS", None, ("/b",)), {"CNI_COMMAND": "STATUS", "CNI_PATH": "/b"})

    def test_name_and_version(self) -> None:
        """Each plugin gets the list's name and version over its own; its other members stay."""
        self.assertEqual(
            configuration(LIST, LIST.plugins[0], "1.0.0"),
            {"type": "bridge", "name": "net", "cniVersion": "1.0.0", "mtu": 1400},
        )

    def test_capabilities(self) -> None:
        """A plugin gets the runtime arguments that it declares, and no others."""
        self.assertNotIn("runtimeConfig", configuration(LIST, LIST.plugins[0], "1.0.0", attachment=ATTACHMENT))
        document = configuration(LIST, LIST.plugins[1], "1.0.0", attachment=ATTACHMENT)
        self.assertEqual(document["runtimeConfig"], {"portMappings": [{"hostPort": 80}]})

    def test_previous(self) -> None:
        """The previous result is passed on."""
        document = configuration(LIST, LIST.plugins[1], "1.0.0", previous={"cniVersion": "1.0.0"})
        self.assertEqual(document["prevResult"], {"cniVersion": "1.0.0"})

    def test_valid_attachments(self) -> None:
        """GC names every attachment that must stay; an empty list means none."""
        document = configuration(LIST, LIST.plugins[0], "1.1.0", valid_attachments=[("c1", "eth0")])
        self.assertEqual(document["cni.dev/valid-attachments"], [{"containerID": "c1", "ifname": "eth0"}])
        document = configuration(LIST, LIST.plugins[0], "1.1.0", valid_attachments=[])
        self.assertEqual(document["cni.dev/valid-attachments"], [])


class CacheTests(SynchronousTestCase):
    """libcni's cache files."""

    def test_form(self) -> None:
        """The file has libcni's form: its kind, base64 of the list, and the result."""
        cached = Cached("net", LIST.text, ATTACHMENT, {"cniVersion": "1.0.0", "ips": []})
        document = json.loads(write_cached(cached))
        self.assertEqual(
            {key: value for key, value in document.items() if key != "config"},
            {
                "kind": "cniCacheV1",
                "containerId": "c" * 64,
                "ifName": "eth0",
                "networkName": "net",
                "netns": "/proc/7/ns/net",
                "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "web-0"]],
                "capabilityArgs": {"portMappings": [{"hostPort": 80}], "bandwidth": {"ingressRate": 1}},
                "result": {"cniVersion": "1.0.0", "ips": []},
            },
        )
        self.assertEqual(base64.b64decode(document["config"]).decode(), LIST.text)
        self.assertEqual(cache_file_name("net", "c1", "eth0"), "net-c1-eth0")

    def test_round_trip(self) -> None:
        """A written file reads back equal."""
        cached = Cached("net", LIST.text, ATTACHMENT, {"cniVersion": "1.0.0", "ips": []})
        self.assertEqual(read_cached(write_cached(cached).encode()), cached)

    def test_libcni_file(self) -> None:
        """A file of libcni 0.8, without a namespace and with null for empty members, is read."""
        config = base64.b64encode(LIST.text.encode()).decode()
        cached = read_cached(
            json.dumps(
                {
                    "kind": "cniCacheV1",
                    "containerId": "c1",
                    "config": config,
                    "ifName": "eth0",
                    "networkName": "net",
                    "cniArgs": None,
                    "capabilityArgs": {"portMappings": []},
                    "result": {"cniVersion": "0.4.0"},
                }
            ).encode()
        )
        self.assertEqual(cached.attachment, Attachment("c1", "", "eth0", (), {"portMappings": []}))

    def test_refused(self) -> None:
        """Other files are refused."""
        for content in (
            b"",
            b"[]",
            b"{}",
            b'{"cniVersion": "0.4.0"}',
            b'{"kind": "cniCacheV2"}',
            b'{"kind": "cniCacheV1", "config": "*"}',
            b'{"kind": "cniCacheV1", "config": "", "cniArgs": [["a"]]}',
            b'{"kind": "cniCacheV1", "config": "", "result": []}',
        ):
            self.assertRaises(MalformedDocument, read_cached, content)


class ErrorTests(SynchronousTestCase):
    """Plugins' error objects."""

    def test_error(self) -> None:
        """Code, message and details are read; details are shown unless the message has them."""
        error = read_plugin_error(b'{"cniVersion": "1.0.0", "code": 11, "msg": "try again", "details": "lock held"}')
        self.assertEqual(error, PluginError(11, "try again", "lock held"))
        self.assertEqual(str(error), "try again; lock held")
        self.assertEqual(str(PluginError(1, "lock held by 7", "lock held")), "lock held by 7")

    def test_none(self) -> None:
        """Output that is not an error object gives None."""
        for output in (b"", b"panic: oops", b"[]", b"{}", b'{"cniVersion": "1.0.0"}', b"\xff", b"[" * 100000):
            self.assertIsNone(read_plugin_error(output))

    def test_odd_members(self) -> None:
        """Members of the wrong type are ignored."""
        self.assertEqual(read_plugin_error(b'{"code": "7", "msg": "no"}'), PluginError(0, "no"))

    def test_quote(self) -> None:
        """A quotation is one line, and short."""
        self.assertEqual(quote_output(b" a\n\tb\xff "), "a b\ufffd")
        self.assertEqual(len(quote_output(b"x" * 1_000_000)), 301)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_cache_file(content: bytes) -> None:
    """Every file in the cache directory is read or refused."""
    try:
        read_cached(content)
    except MalformedDocument:
        return
