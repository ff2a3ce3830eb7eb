"""A pull's progress is told from its standstill."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from criwist.core.images.pull_progress import PullProgress

DEADLINE = 60.0


def bytes_of(layer: str, current: int, status: str = "Downloading") -> dict[str, object]:
    """A message of a layer under way."""
    return {"id": layer, "status": status, "progressDetail": {"current": current, "total": 1000}}


class PullProgressTests(SynchronousTestCase):
    """The clock of the deadline."""

    def setUp(self) -> None:
        """A pull that was asked for at 100 s."""
        self.progress = PullProgress(DEADLINE, 100.0)

    def test_the_clock_runs_from_the_request_on(self) -> None:
        """A registry that never answers uses the deadline up."""
        self.assertEqual(self.progress.remaining(130.0), 30.0)
        self.assertEqual(self.progress.remaining(160.0), 0.0)
        self.assertEqual(self.progress.last(), "the registry has not answered")

    def test_bytes_are_progress(self) -> None:
        """More bytes of a layer start the deadline anew."""
        self.progress.message(bytes_of("a", 1), 120.0)
        self.progress.message(bytes_of("a", 2), 150.0)
        self.assertEqual(self.progress.remaining(150.0), DEADLINE)

    def test_the_same_again_is_no_progress(self) -> None:
        """A message that says what the last one of its layer said changes nothing."""
        self.progress.message(bytes_of("a", 1), 110.0)
        self.progress.message(bytes_of("b", 1), 120.0)
        self.progress.message(bytes_of("a", 1), 150.0)
        self.assertEqual(self.progress.remaining(150.0), 30.0)

    def test_any_layer_counts(self) -> None:
        """One layer that gets on keeps a pull alive in which another stands still."""
        self.progress.message(bytes_of("a", 1), 110.0)
        for second in range(120, 300, 30):
            self.progress.message(bytes_of("b", second), float(second))
        self.assertEqual(self.progress.remaining(270.0), DEADLINE)

    def test_a_change_of_status_is_progress(self) -> None:
        """Without bytes too, and of the pull as a whole."""
        self.progress.message({"status": "Pulling fs layer", "id": "a", "progressDetail": {}}, 110.0)
        self.progress.message({"status": "Waiting", "id": "a", "progressDetail": {}}, 150.0)
        self.assertEqual(self.progress.remaining(150.0), DEADLINE)
        self.progress.message({"status": "Digest: sha256:12"}, 155.0)
        self.assertEqual(self.progress.remaining(155.0), DEADLINE)

    def test_the_clock_rests_while_a_layer_is_verified_or_extracted(self) -> None:
        """However long that takes and whatever the other layers do; afterwards it runs again."""
        for status in ("Verifying Checksum", "Extracting"):
            self.progress.message(bytes_of("a", 5, status), 200.0)
            self.progress.message(bytes_of("b", 5), 210.0)
            self.assertIsNone(self.progress.remaining(10_000.0))
            self.progress.message({"status": "Pull complete", "id": "a", "progressDetail": {}}, 300.0)
            self.assertEqual(self.progress.remaining(300.0), DEADLINE)

    def test_seconds_of_extraction_count_as_bytes_do(self) -> None:
        """Engines from 29 on tell how long they have been extracting."""
        message = {
            "status": "Extracting",
            "progressDetail": {"current": 1, "units": "s"},
            "hidecounts": True,
            "id": "a",
        }
        self.progress.message(message, 150.0)
        self.assertIsNone(self.progress.remaining(1000.0))

    def test_0_is_no_deadline(self) -> None:
        """A deadline of 0 never comes."""
        self.assertIsNone(PullProgress(0.0, 100.0).remaining(1e9))

    def test_the_last_progress_names_the_layer_that_waits(self) -> None:
        """Not one that is complete, though that changed later."""
        self.progress.message({"status": "Pulling from library/x", "id": "1.2"}, 100.0)
        self.progress.message(bytes_of("aaa", 400), 101.0)
        self.progress.message({"status": "Pulling fs layer", "id": "ccc", "progressDetail": {}}, 101.5)
        self.progress.message({"status": "Pull complete", "id": "bbb", "progressDetail": {}}, 102.0)
        self.assertEqual(self.progress.last(), "layer aaa: Downloading 400 of 1000 bytes")

    def test_the_last_progress_without_layers(self) -> None:
        """Is what the engine said last."""
        self.progress.message({"status": "Pulling from library/x", "id": "1.2"}, 100.0)
        self.assertEqual(self.progress.last(), "Pulling from library/x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "status", "progressDetail", "x"]), _JSON, max_size=4), max_size=8)
)
@settings(max_examples=100)
def test_no_message_is_beyond_it(messages: list[dict[str, object]]) -> None:
    """Whatever the engine says is progress or is not."""
    progress = PullProgress(DEADLINE, 0.0)
    for time, message in enumerate(messages):
        progress.message(message, float(time))
    assert isinstance(progress.last(), str)
    remaining = progress.remaining(float(len(messages)))
    assert remaining is None or remaining <= DEADLINE
