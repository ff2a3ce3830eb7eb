"""Images made in memory."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from twisted.trial.unittest import SynchronousTestCase

from criwist.pause.archive import Entry, Image

_ENTRIES = (
    Entry("bin/tool", b"#!", mode=0o755),
    Entry("bin", mode=0o755, directory=True),
    Entry("home/alice", mode=0o700, uid=1003, gid=100, directory=True),
    Entry("bin/alias", link="/bin/tool"),
)


def _members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


class ImageTests(SynchronousTestCase):
    """An image's archive follows Docker's image specification."""

    def test_manifest_names_what_is_there(self) -> None:
        """The manifest names a configuration and a layer that are in the archive, and the references."""
        members = _members(Image(_ENTRIES, "amd64").archive("b/b:2", "a/a:1"))
        (manifest,) = json.loads(members["manifest.json"])
        self.assertEqual(manifest["RepoTags"], ["a/a:1", "b/b:2"])
        self.assertEqual({manifest["Config"], *manifest["Layers"], "manifest.json"}, set(members))

    def test_configuration_has_the_digest_of_the_layer(self) -> None:
        """The one diff id is the SHA-256 of the layer's uncompressed tar."""
        members = _members(Image(_ENTRIES, "arm64", {"User": "1003"}).archive("a/a:1"))
        (manifest,) = json.loads(members["manifest.json"])
        configuration = json.loads(members[manifest["Config"]])
        layer = members[manifest["Layers"][0]]
        self.assertEqual(configuration["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(layer).hexdigest()])
        self.assertEqual(configuration["architecture"], "arm64")
        self.assertEqual(configuration["config"], {"User": "1003"})

    def test_id_is_the_digest_of_the_configuration(self) -> None:
        """``Image.id`` is the image's id on an engine with a graph driver."""
        image = Image(_ENTRIES, "amd64")
        members = _members(image.archive("a/a:1"))
        (manifest,) = json.loads(members["manifest.json"])
        self.assertEqual(image.id, "sha256:" + hashlib.sha256(members[manifest["Config"]]).hexdigest())

    def test_layer_keeps_modes_owners_and_links(self) -> None:
        """A layer holds directories before their contents, with mode, owner and link target of each entry."""
        members = _members(Image(_ENTRIES, "amd64").archive("a/a:1"))
        (layer,) = (content for name, content in members.items() if name.endswith("/layer.tar"))
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            found = {member.name: member for member in tar}
        self.assertEqual(list(found), ["bin", "bin/alias", "bin/tool", "home/alice"])
        self.assertTrue(found["bin"].isdir())
        self.assertEqual(found["bin/alias"].linkname, "/bin/tool")
        self.assertEqual((found["bin/tool"].mode, found["bin/tool"].mtime), (0o755, 0))
        self.assertEqual((found["home/alice"].uid, found["home/alice"].gid), (1003, 100))

    def test_order_of_entries_does_not_matter(self) -> None:
        """The same files in another order are the same image, byte for byte."""
        one, other = Image(_ENTRIES, "amd64"), Image(_ENTRIES[::-1], "amd64")
        self.assertEqual(one.archive("a/a:1"), other.archive("a/a:1"))
