"""A pull that makes progress is distinguished from one that has stalled."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.images.pull_progress import PullProgress

DEADLINE = 60.0


def bytes_of(layer: str, current: int, status: str = "Downloading") -> dict[str, object]:
    """Return a progress message of a layer."""
    return {"id": layer, "status": status, "progressDetail": {"current": current, "total": 1000}}


class PullProgressTests(SynchronousTestCase):
    """The clock of the progress deadline."""

    def setUp(self) -> None:
        """Make a pull requested at 100 s."""
        self.progress = PullProgress(DEADLINE, 100.0)

    def test_the_clock_runs_from_the_request_on(self) -> None:
        """A registry that never answers reaches the deadline."""
        self.assertEqual(self.progress.remaining(130.0), 30.0)
        self.assertEqual(self.progress.remaining(160.0), 0.0)
        self.assertEqual(self.progress.describe(), "the registry has not answered")

    def test_bytes_are_progress(self) -> None:
        """More bytes of a layer restart the deadline."""
        self.progress.update(bytes_of("a", 1), 120.0)
        self.progress.update(bytes_of("a", 2), 150.0)
        self.assertEqual(self.progress.remaining(150.0), DEADLINE)

    def test_the_same_again_is_no_progress(self) -> None:
        """A message equal to the last one of its layer changes nothing."""
        self.progress.update(bytes_of("a", 1), 110.0)
        self.progress.update(bytes_of("b", 1), 120.0)
        self.progress.update(bytes_of("a", 1), 150.0)
        self.assertEqual(self.progress.remaining(150.0), 30.0)

    def test_bytes(self) -> None:
        """Downloaded and announced bytes are those of all layers; a layer that is complete keeps its own."""
        self.assertEqual((self.progress.downloaded, self.progress.announced), (0, 0))
        self.progress.update(bytes_of("a", 400), 101.0)
        self.progress.update(bytes_of("b", 100), 102.0)
        self.assertEqual((self.progress.downloaded, self.progress.announced), (500, 2000))
        self.progress.update({"id": "a", "status": "Download complete", "progressDetail": {}}, 103.0)
        self.progress.update(bytes_of("a", 10, "Extracting"), 104.0)
        self.progress.update({"id": "c", "status": "Already exists"}, 105.0)
        self.assertEqual((self.progress.downloaded, self.progress.announced), (1100, 2000))

    def test_strange_bytes(self) -> None:
        """Negative sizes count as 0, and a layer of unknown size announces what has come."""
        self.progress.update(bytes_of("a", -5), 101.0)
        self.progress.update({"id": "b", "status": "Downloading", "progressDetail": {"current": 7}}, 102.0)
        self.assertEqual((self.progress.downloaded, self.progress.announced), (7, 1007))

    def test_any_layer_counts(self) -> None:
        """One layer's progress keeps a pull alive in which another layer stalls."""
        self.progress.update(bytes_of("a", 1), 110.0)
        for second in range(120, 300, 30):
            self.progress.update(bytes_of("b", second), float(second))
        self.assertEqual(self.progress.remaining(270.0), DEADLINE)

    def test_a_change_of_status_is_progress(self) -> None:
        """A new status is progress without bytes too, and for the pull as a whole."""
        self.progress.update({"status": "Pulling fs layer", "id": "a", "progressDetail": {}}, 110.0)
        self.progress.update({"status": "Waiting", "id": "a", "progressDetail": {}}, 150.0)
        self.assertEqual(self.progress.remaining(150.0), DEADLINE)
        self.progress.update({"status": "Digest: sha256:12"}, 155.0)
        self.assertEqual(self.progress.remaining(155.0), DEADLINE)

    def test_the_clock_stops_while_a_layer_is_verified_or_extracted(self) -> None:
        """However long that takes and whatever the other layers do; afterwards a whole deadline starts."""
        for status in ("Verifying Checksum", "Extracting"):
            self.progress.update(bytes_of("a", 5, status), 200.0)
            self.progress.update(bytes_of("b", 5), 210.0)
            self.assertIsNone(self.progress.remaining(10_000.0))
            self.progress.update({"status": "Pull complete", "id": "a", "progressDetail": {}}, 300.0)
            self.assertEqual(self.progress.remaining(300.0), DEADLINE)

    def test_seconds_of_extraction_count_as_bytes_do(self) -> None:
        """Engines from 29 on report the seconds since extraction began."""
        message = {
            "status": "Extracting",
            "progressDetail": {"current": 1, "units": "s"},
            "hidecounts": True,
            "id": "a",
        }
        self.progress.update(message, 150.0)
        self.assertIsNone(self.progress.remaining(1000.0))

    def test_0_is_no_deadline(self) -> None:
        """With a deadline of 0 a pull never stalls."""
        self.assertIsNone(PullProgress(0.0, 100.0).remaining(1e9))

    def test_the_last_progress_names_the_layer_that_waits(self) -> None:
        """A layer that is not complete goes before one that is, though that changed later."""
        self.progress.update({"status": "Pulling from library/x", "id": "1.2"}, 100.0)
        self.progress.update(bytes_of("aaa", 400), 101.0)
        self.progress.update({"status": "Pulling fs layer", "id": "ccc", "progressDetail": {}}, 101.5)
        self.progress.update({"status": "Pull complete", "id": "bbb", "progressDetail": {}}, 102.0)
        self.assertEqual(self.progress.describe(), "layer aaa: Downloading 400 of 1000 bytes")

    def test_the_last_progress_without_layers(self) -> None:
        """Without layers it is the engine's last status."""
        self.progress.update({"status": "Pulling from library/x", "id": "1.2"}, 100.0)
        self.assertEqual(self.progress.describe(), "Pulling from library/x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "status", "progressDetail", "x"]), _JSON, max_size=4), max_size=8)
)
@settings(max_examples=100)
def test_any_message_is_accepted(messages: list[dict[str, object]]) -> None:
    """No message of the engine, however strange, raises."""
    progress = PullProgress(DEADLINE, 0.0)
    for time, message in enumerate(messages):
        progress.update(message, float(time))
    assert isinstance(progress.describe(), str)
    assert 0 <= progress.downloaded <= progress.announced
    remaining = progress.remaining(float(len(messages)))
    assert remaining is None or remaining <= DEADLINE
