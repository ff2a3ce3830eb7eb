"""criwist's own pause image."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from criwist.errors import Unimplemented
from criwist.pause.image import PAUSE_REFERENCE, is_pause_image, pause_archive, pause_image


class PauseImageTests(SynchronousTestCase):
    """The pause image of each architecture."""

    def test_engine_and_kernel_names_mean_the_same(self) -> None:
        """The architecture's names in /version and in /info give the same image."""
        self.assertEqual(pause_image("amd64"), pause_image("x86_64"))
        self.assertEqual(pause_image("arm64"), pause_image("aarch64"))
        self.assertNotEqual(pause_image("amd64").id, pause_image("arm64").id)

    def test_archive_is_small_and_stable(self) -> None:
        """The archive has the same bytes each time, and is a few tar blocks long."""
        self.assertEqual(pause_archive("amd64"), pause_archive("amd64"))
        self.assertLess(len(pause_archive("amd64")), 64 * 1024)
        self.assertIn(PAUSE_REFERENCE.encode(), pause_archive("amd64"))

    def test_other_architectures_are_told_the_way_out(self) -> None:
        """The error for an architecture without a pause program names it, and the option that helps."""
        error = self.assertRaises(Unimplemented, pause_archive, "riscv64")
        self.assertIn("'riscv64'", str(error))
        self.assertIn("--pod-infra-container-image", str(error))

    def test_known_by_its_content(self) -> None:
        """Its id, or its layer and configuration, tell it; neither its name nor a part of its content does."""
        own = pause_image("amd64")
        layers, config = {"Layers": [own.layer_id]}, {"Entrypoint": ["/pause"], "WorkingDir": "/", "Env": None}
        self.assertTrue(is_pause_image({"Id": own.id}, "amd64"))
        self.assertTrue(is_pause_image({"Id": "sha256:1", "RootFS": layers, "Config": config}, "x86_64"))
        self.assertFalse(is_pause_image({"RepoTags": [PAUSE_REFERENCE]}, "amd64"))
        self.assertFalse(is_pause_image({"Id": own.id}, "arm64"))
        changes: list[dict[str, object]] = [
            {"User": "1"},
            {"Entrypoint": ["/other"]},
            {"Cmd": ["x"]},
            {"Volumes": {"/v": {}}},
        ]
        for change in changes:
            self.assertFalse(is_pause_image({"RootFS": layers, "Config": config | change}, "amd64"), change)
        self.assertFalse(is_pause_image({"RootFS": {"Layers": [own.layer_id] * 2}, "Config": config}, "amd64"))
