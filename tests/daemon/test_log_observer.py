"""The events that the log observer keeps."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from criwist.daemon import log_observer


class ObserverTests(SynchronousTestCase):
    """The observer drops events below the level, and Twisted's own."""

    def kept(self, level: str, namespace: str, event_level: object) -> bool:
        """Return whether an event is written at this ``--log-level``."""
        self.addCleanup(log_observer.choose, "info", log_observer.STANDARD_OUTPUT)
        name = log_observer.choose(level, log_observer.STANDARD_OUTPUT)
        self.assertEqual(name, "criwist.daemon.log_observer.observer")
        written = io.StringIO()
        with redirect_stdout(written):
            event = {"log_level": event_level, "log_namespace": namespace, "log_format": "said", "log_time": 0.0}
            log_observer.observer()(event)
        return "said" in written.getvalue()

    def test_level(self) -> None:
        """criwist's own events are kept from the level on."""
        self.assertTrue(self.kept("info", "criwist.core.sandboxes.sandboxes", LogLevel.info))
        self.assertFalse(self.kept("warn", "criwist.core.sandboxes.sandboxes", LogLevel.info))
        self.assertTrue(self.kept("warn", "criwist.core.sandboxes.sandboxes", LogLevel.warn))

    def test_chatter(self) -> None:
        """Events of Twisted's factories and connections are dropped; Twisted's warnings are kept."""
        for namespace in ("twisted.web.client", "log_legacy"):
            self.assertFalse(self.kept("info", namespace, LogLevel.info))
            self.assertTrue(self.kept("info", namespace, LogLevel.warn))

    def test_debug_has_all(self) -> None:
        """At the level debug every event is kept."""
        self.assertTrue(self.kept("debug", "twisted.web.client", LogLevel.debug))
