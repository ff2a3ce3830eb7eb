"""Image references are parsed as Docker's tools parse them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import InvalidArgument
from criwist.reference import MAX_PATH, Reference, is_identifier, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


class ParseTests(SynchronousTestCase):
    """The parts of a parsed reference."""

    def test_a_bare_name_is_an_official_image_of_the_hub(self) -> None:
        """``busybox`` is in the default registry, below library."""
        self.assertEqual(parse("busybox"), Reference("docker.io", "library/busybox"))

    def test_one_slash_names_a_user_of_the_hub(self) -> None:
        """A first part without dot, colon or capital is a part of the path."""
        self.assertEqual(parse("team/app:1"), Reference("docker.io", "team/app", "1"))

    def test_a_registry_is_told_by_dot_port_or_localhost(self) -> None:
        """Each of the marks makes the first part a registry."""
        for registry in ("registry.example", "host:5000", "localhost", "[::1]:5000", "REGISTRY"):
            self.assertEqual(parse(f"{registry}/app"), Reference(registry, "app"))

    def test_the_old_name_of_the_hub_is_the_hub(self) -> None:
        """index.docker.io is docker.io."""
        self.assertEqual(parse("index.docker.io/app"), parse("app"))

    def test_tag_and_digest(self) -> None:
        """A reference may have both a tag and a digest."""
        self.assertEqual(parse(f"host:1/a/b:t@{DIGEST}"), Reference("host:1", "a/b", "t", DIGEST))

    def test_a_port_is_no_tag(self) -> None:
        """A colon before a slash separates host and port."""
        self.assertEqual(parse("localhost:5000/app").tag, "")

    def test_what_is_no_reference_is_refused_with_the_field(self) -> None:
        """The error for a malformed text names the field and the problem."""
        bad: tuple[str, ...] = (
            "",
            " ",
            "a b",
            "App",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-x",
            "a@",
            "a@sha256:12",
            "a@b@c",
            "-a/b",
            "a\0b",
        )
        bad += ("host:port/a", "é", "a" * 2000, "a:" + "t" * 129, "x/" * MAX_PATH + "y", DIGEST, DIGEST[7:], "a_/b")
        for text in bad:
            error = self.assertRaises(InvalidArgument, parse, text, "image.image")
            self.assertEqual(error.field, "image.image")

    def test_capitals_in_a_path_get_their_own_words(self) -> None:
        """The error for capitals, the commonest mistake, says that lower case is needed."""
        self.assertIn("lower case", str(self.assertRaises(InvalidArgument, parse, "team/App")))


class FormTests(SynchronousTestCase):
    """The text forms of a reference."""

    def test_familiar_form_is_as_docker_lists_it(self) -> None:
        """The familiar form omits the hub's prefix and ``library/``, and nothing else."""
        for text in ("busybox:1", "team/app", "registry.example/library/app", f"busybox@{DIGEST}", "library/a/b"):
            self.assertEqual(parse(text).familiar, text)

    def test_a_bare_name_means_latest(self) -> None:
        """A reference with neither tag nor digest means latest."""
        self.assertEqual(str(parse("busybox").specific()), "docker.io/library/busybox:latest")

    def test_a_digest_makes_the_tag_superfluous(self) -> None:
        """With a tag and a digest, the digest decides."""
        self.assertEqual(parse(f"a:t@{DIGEST}").specific(), parse(f"a@{DIGEST}"))

    def test_identifiers(self) -> None:
        """Ids and beginnings of ids are distinguished from references."""
        self.assertTrue(all(is_identifier(text) for text in (DIGEST, DIGEST[7:], "cafe", "sha256:0")))
        self.assertFalse(any(is_identifier(text) for text in ("busybox", "", "sha256:", "CAFE", DIGEST + "0")))


_COMPONENT = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
_DOMAIN = st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){1,2}(:[0-9]{1,5})?", fullmatch=True) | st.just("localhost")
_REFERENCES = st.builds(
    Reference,
    _DOMAIN,
    st.lists(_COMPONENT, min_size=1, max_size=4).map("/".join),
    st.just("") | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.just("") | st.just(DIGEST),
)


@given(_REFERENCES)
@settings(max_examples=150)
def test_the_full_form_parses_to_the_same_reference(reference: Reference) -> None:
    """Parsing ``str(reference)`` gives an equal reference."""
    assert parse(str(reference)) == reference


@given(_REFERENCES)
@settings(max_examples=150)
def test_the_familiar_form_parses_to_the_same_reference(reference: Reference) -> None:
    """Parsing the familiar form gives an equal reference."""
    assert parse(parse(str(reference)).familiar) == reference


@given(st.text(max_size=60) | st.text(alphabet="aA0./:@-_[]", max_size=30))
@settings(max_examples=300)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Every text gives a reference or InvalidArgument."""
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert parse(str(reference)) == reference
