"""A criwist that cannot read the engine's files, as if the engine were on another host."""

from __future__ import annotations

from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.engine import Engine


class FarDaemon(Daemon):
    """A criwist in its own mount namespace, where the directory of *engine*'s containers is empty."""

    def __init__(self, root: Path, engine: Engine, **options: str | bool | None) -> None:
        self._hidden = engine.root / "data/containers"
        super().__init__(root, engine.endpoint, **options)

    def command(self) -> list[str]:
        """Return the command line."""
        hide = f'mount -t tmpfs none {self._hidden} && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", hide, "sh", *super().command()]

    def start(self) -> float:
        """Start it; raise RuntimeError if it can read the containers' files."""
        seconds = super().start()
        if list(Path(f"/proc/{self.pid}/root{self._hidden}").iterdir()):
            raise RuntimeError(f"criwist sees {self._hidden}")
        return seconds
