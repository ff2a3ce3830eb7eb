"""JSON objects are found in a byte stream, wherever it is cut."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.wire.jsonstream import JSONObjects, JSONStreamError


class JSONObjectsTests(SynchronousTestCase):
    """Objects in a stream."""

    def test_objects_need_no_separator(self) -> None:
        """Lines, blanks or nothing may separate objects."""
        objects = JSONObjects().receive_data(b' {"a":1}\r\n{"b":[{}]}{"c":"}{"}\n\n')
        self.assertEqual(objects, [{"a": 1}, {"b": [{}]}, {"c": "}{"}])

    def test_an_object_comes_when_its_last_byte_does(self) -> None:
        """An object is complete with its last byte; one that is cut off is pending."""
        stream = JSONObjects()
        self.assertEqual(stream.receive_data(b'{"a"'), [])
        self.assertTrue(stream.pending)
        self.assertEqual(stream.receive_data(b":1}"), [{"a": 1}])
        self.assertFalse(stream.pending)

    def test_a_cut_after_a_backslash(self) -> None:
        """An escaped quote that comes with the next read does not end the string."""
        stream = JSONObjects()
        self.assertEqual(stream.receive_data(b'{"a":"\\'), [])
        self.assertEqual(stream.receive_data(b'"}"}'), [{"a": '"}'}])

    def test_what_is_no_object_is_refused(self) -> None:
        """Other values, malformed objects and invalid UTF-8 are refused, and so is all input after them."""
        for text in (b"[1]", b"1", b"null", b"}", b"x{}", b'{"a" 1}', b"{]", b'{"a":"\xff"}', b"\0"):
            stream = JSONObjects()
            self.assertRaises(JSONStreamError, stream.receive_data, text)
            self.assertRaises(JSONStreamError, stream.receive_data, b"{}")

    def test_an_object_beyond_the_limit_is_refused(self) -> None:
        """An object beyond the limit is refused before it is whole; many small ones are not."""
        stream = JSONObjects(limit=100)
        self.assertEqual(len(stream.receive_data(b'{"a":1}' * 1000)), 1000)
        self.assertRaises(JSONStreamError, stream.receive_data, b'{"a":"' + b"x" * 100)

    def test_deep_nesting_does_not_overflow(self) -> None:
        """Deep nesting is refused like any other malformed object."""
        self.assertRaises(JSONStreamError, JSONObjects().receive_data, b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(['"', "\\", '\\"}', "{", "]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
_OBJECTS = st.lists(st.dictionaries(st.text(max_size=6), _VALUES, max_size=3), max_size=5)


@given(
    _OBJECTS, st.booleans(), st.lists(st.integers(1, 9), min_size=1, max_size=20), st.sampled_from(["", "\n", "\r\n "])
)
@settings(max_examples=80)
def test_no_cut_changes_the_objects(objects: list[Any], escaped: bool, cuts: list[int], between: str) -> None:
    """The objects come out as written, in order."""
    text = between.join(json.dumps(value, ensure_ascii=escaped) for value in objects).encode("utf-8", "surrogatepass")
    if b"\xed" in text and not escaped:
        return
    stream = JSONObjects()
    found: list[Any] = []
    position = index = 0
    while position < len(text):
        length = cuts[index % len(cuts)]
        found += stream.receive_data(text[position : position + length])
        position, index = position + length, index + 1
    assert found == objects


@given(st.lists(st.binary(max_size=30), max_size=6))
@settings(max_examples=200)
def test_any_bytes_are_objects_or_refused(chunks: list[bytes]) -> None:
    """Every input gives objects or JSONStreamError."""
    stream = JSONObjects()
    try:
        for chunk in chunks:
            stream.receive_data(chunk)
    except JSONStreamError:
        return
