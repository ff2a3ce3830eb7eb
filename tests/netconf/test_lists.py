"""Parsing and choosing configuration lists."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.netconf.lists import choose, parse_list
from criwist.netconf.plugin_errors import MalformedDocument

BRIDGE = {"type": "bridge", "ipam": {"type": "host-local"}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True, "other": False}}


def text(**members: Any) -> bytes:
    """A list with this content."""
    return json.dumps({"name": "net", "cniVersion": "1.0.0", "plugins": [BRIDGE, PORTMAP]} | members).encode()


class ParseTests(SynchronousTestCase):
    """One configuration file."""

    def test_list(self) -> None:
        """A list has its name, its version and its plugins in order, with the capabilities that are true."""
        network = parse_list(text(), source="10-net.conflist")
        self.assertEqual((network.name, network.versions, network.source), ("net", ("1.0.0",), "10-net.conflist"))
        self.assertEqual([plugin.type for plugin in network.plugins], ["bridge", "portmap"])
        self.assertEqual(network.capabilities, {"portMappings"})
        self.assertEqual(network.plugins[0].executables, ("bridge", "host-local"))
        self.assertEqual(network.plugins[1].executables, ("portmap",))

    def test_text_is_kept(self) -> None:
        """A list keeps the file's text, so that a cache holds the configuration unchanged."""
        self.assertEqual(parse_list(text(extra=[1])).text, text(extra=[1]).decode())

    def test_single_plugin(self) -> None:
        """A single plugin's configuration is a list of one, whose text reads back the same."""
        plugin = {"name": "net", "cniVersion": "0.3.1", "type": "ptp", "capabilities": {"bandwidth": True}}
        network = parse_list(json.dumps(plugin), source="10-net.conf")
        self.assertEqual((network.name, network.versions), ("net", ("0.3.1",)))
        self.assertEqual([one.document for one in network.plugins], [plugin])
        self.assertEqual(parse_list(network.text, source="10-net.conf"), network)

    def test_added_plugins(self) -> None:
        """Plugins of other files come after the list's own, and the text has them all."""
        added = {"10-tuning.conf": b'{"type": "tuning"}', "20-sbr.conf": b'{"type": "sbr"}'}
        network = parse_list(text(), source="10-net.conflist", added={"net": added}.__getitem__)
        self.assertEqual([plugin.type for plugin in network.plugins], ["bridge", "portmap", "tuning", "sbr"])
        self.assertEqual(parse_list(network.text, source="10-net.conflist", added={}.__getitem__), network)  # type: ignore[arg-type]

    def test_only_added_plugins(self) -> None:
        """A list may consist of added plugins only."""
        network = parse_list(b'{"name": "net"}', source="a.conflist", added=lambda name: {"x.conf": b'{"type": "x"}'})
        self.assertEqual([plugin.type for plugin in network.plugins], ["x"])

    def test_no_added_plugins(self) -> None:
        """A list with loadOnlyInlinedPlugins, and a single plugin, get no added plugins."""
        single = b'{"name": "net", "type": "bridge"}'
        for content, source in ((text(loadOnlyInlinedPlugins=True), "a.conflist"), (single, "a.conf")):
            parse_list(content, source=source, added={}.__getitem__)  # type: ignore[arg-type]

    def test_broken_added_plugin(self) -> None:
        """A list with a broken added plugin is refused: without the plugin, pods would not be as configured."""
        for content, problem in ((b"{", "not a JSON object"), (b"{}", "has no type")):
            with self.assertRaises(MalformedDocument) as caught:
                parse_list(text(), source="a.conflist", added=lambda name, content=content: {"x.conf": content})  # type: ignore[misc]
            self.assertIn(problem, str(caught.exception))

    def test_default_version(self) -> None:
        """A list without a version has the first version."""
        self.assertEqual(parse_list(b'{"name": "n", "type": "x"}').versions, ("0.1.0",))

    def test_alternatives(self) -> None:
        """The versions that a list offers are tried from the newest known one."""
        network = parse_list(text(cniVersion="0.4.0", cniVersions=["1.0.0", "9.0.0", "0.4.0"]))
        self.assertEqual(network.versions, ("1.0.0", "0.4.0"))

    def test_flags(self) -> None:
        """disableCheck and disableGC are booleans, or strings that spell one."""
        self.assertTrue(parse_list(text(disableCheck=True)).disable_check)
        self.assertTrue(parse_list(text(disableCheck="true")).disable_check)
        self.assertTrue(parse_list(text(disableGC=True)).disable_gc)
        self.assertFalse(parse_list(text()).disable_check)

    def _refused(self, content: bytes, *words: str, source: str = "a.conflist") -> None:
        problem = self.assertRaises(MalformedDocument, parse_list, content, source=source)
        for word in words:
            self.assertIn(word, str(problem))

    def test_refused(self) -> None:
        """A file that is not a list is refused, with the reason."""
        self._refused(b"", "not JSON")
        self._refused(b"\xff", "not JSON")
        self._refused(b"[" * 100000, "not JSON")
        self._refused(b"[]", "not a JSON object")
        self._refused(b"{}", "no name")
        self._refused(b'{"name": "net"}', "no plugins")
        self._refused(b"{}", "no name", source="a.conf")
        self._refused(b'{"name": "n"}', "no type", source="a.conf")
        self._refused(text(name=""), "no name")
        self._refused(text(name="../net"), "../net")
        self._refused(text(name=7), "name", "string")
        self._refused(text(plugins=[]), "no plugins")
        self._refused(text(plugins={}), "plugins", "list")
        self._refused(text(plugins=[None]), "plugins[0]")
        self._refused(text(plugins=[BRIDGE, {}]), "plugins[1]", "type")
        self._refused(text(plugins=[{"type": "../../bin/sh"}]), "plugins[0].type")
        self._refused(text(plugins=[{"type": ".."}]), "plugins[0].type")
        self._refused(text(plugins=[{"type": "x", "capabilities": []}]), "plugins[0].capabilities")
        self._refused(text(cniVersion="7.0.0"), "7.0.0", "1.1.0")
        self._refused(text(disableCheck="perhaps"), "disableCheck")


class ChooseTests(SynchronousTestCase):
    """A configuration directory."""

    def test_first_valid(self) -> None:
        """The first valid file by name wins; the files skipped before it are reported."""
        choice = choose({"20-b.conflist": text(name="b"), "10-a.conf": b"{", "30-c.json": text(name="c")})
        self.assertIsNotNone(choice.chosen)
        self.assertEqual(choice.chosen and choice.chosen.name, "b")
        self.assertEqual(list(choice.problems), ["10-a.conf"])

    def test_endings(self) -> None:
        """Files with other endings are ignored."""
        self.assertIsNone(choose({"10-a.conflist.bak": text(), "README": b"", "a.yaml": text()}).chosen)

    def test_nothing(self) -> None:
        """An empty directory chooses nothing and has no problems."""
        choice = choose({})
        self.assertIsNone(choice.chosen)
        self.assertEqual(choice.problems, {})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "type", "plugins", "cniVersion", "cniVersions", "capabilities", "ipam", "disableGC"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_json | st.binary(max_size=20))
def test_any_file(content: Any) -> None:
    """Every file in the directory is used or skipped."""
    file = content if isinstance(content, bytes) else json.dumps(content).encode()
    choice = choose({"a.conf": file, "b.conflist": file})
    assert choice.chosen is None or choice.chosen.plugins
