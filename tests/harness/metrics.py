"""Reads a criwist's metrics as Prometheus does."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.harness.clock import scaled
from tests.harness.daemon import Daemon

_ADDRESS = re.compile(r"metrics are served on (https?://\S+)/metrics")


class Metrics:
    """The metrics address of a started criwist."""

    def __init__(self, daemon: Daemon, tls: ssl.SSLContext | None = None) -> None:
        found = _ADDRESS.findall(daemon.log_text())
        assert found, "no metrics address in the log"
        self.address = str(found[-1])
        self._tls = tls

    def get(self, path: str, *, method: str = "GET", accept: str = "") -> tuple[int, str, str]:
        """Return the status, the content type and the body of a response."""
        request = urllib.request.Request(self.address + path, method=method, headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=scaled(20), context=self._tls) as response:
                return response.status, response.headers["Content-Type"], response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"] or "", error.read().decode()

    def samples(self) -> Iterator[Sample]:
        """Yield all samples of a scrape."""
        status, _, text = self.get("/metrics")
        assert status == 200, text
        for family in text_string_to_metric_families(text):
            yield from family.samples

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name with these labels; 0 if there is none."""
        return sum(
            sample.value
            for sample in self.samples()
            if sample.name == f"criwist_{name}" and labels.items() <= sample.labels.items()
        )

    def with_value(self) -> set[str]:
        """Return the names of criwist's own metrics that have a sample which is not 0, without suffixes of samples."""
        return {
            re.sub(r"_(bucket|sum|count)$", "", sample.name)
            for sample in self.samples()
            if sample.name.startswith("criwist_") and sample.value
        }
