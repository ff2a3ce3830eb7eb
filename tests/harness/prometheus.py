"""A real Prometheus that scrapes one address each second."""

from __future__ import annotations

import json
import re
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.harness.clock import scaled
from tests.harness.programs import Program

#: It logs the port that the kernel has chosen.
_LISTENS = re.compile(r'msg="Listening on" address=(\S+)')


class Prometheus:
    """Debian's Prometheus, not started.

    :param root: a directory for its configuration, log and data.
    :param target: host and port of the metrics.
    :param rules: a file of alert rules; they are evaluated each second.
    """

    def __init__(self, root: Path, target: str, rules: Path) -> None:
        program = shutil.which("prometheus")
        assert program is not None
        root.mkdir()
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "criwist", "static_configs": [{"targets": [target]}]}],
        }
        (root / "prometheus.yml").write_text(json.dumps(configuration))
        command = [program, f"--config.file={root}/prometheus.yml", f"--storage.tsdb.path={root}/data"]
        command += ["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"]
        self._program = Program("prometheus", command, root / "prometheus.log")
        self.address = ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._program.start(self._answers)

    def stop(self) -> None:
        """End it."""
        self._program.stop()

    def ask(self, path: str, **parameters: str) -> Any:
        """Return ``data`` of an answer of its API: of ``query``, ``rules``, ``label/__name__/values``."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=scaled(20)) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the result of an instant query now: a list of series, each with ``metric`` and ``value``."""
        return list(self.ask("query", query=expression)["result"])

    def _answers(self) -> bool:
        found = _LISTENS.findall(self._program.log_text())
        if not found:
            return False
        self.address = found[-1]
        try:
            self.ask("status/buildinfo")
        except OSError:
            return False
        return True
