"""Draw the picture of the page in the documentation: ``python -m tools.page_picture [--pods 10] [FILE.png]``.

It needs chromium.  The node in the picture does not exist (``tests/metrics/sample_page.py``).
"""

from __future__ import annotations

import argparse
import functools
import shutil
import struct
import tempfile
import threading
import zlib
from collections.abc import Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

from criwist.metrics.page import resources
from criwist.metrics.page.document import document
from criwist.metrics.page.view import lists
from tests.harness.browser import Browser
from tests.harness.clock import eventually
from tests.metrics.sample_page import busy_node

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "page.png"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def draw(picture: Path, *, pods: int, width: int, height: int, dark: bool) -> None:
    """Write the picture of a node with so many pods."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        state, history, latencies = busy_node(pods)
        (directory / "index.html").write_bytes(document(state.host, lists(state, history, latencies)))
        for name in resources.FILES:
            if not name.endswith(".js"):  # there are no updates
                shutil.copy(str(files(resources.__package__).joinpath(name)), directory)
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=temporary))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = Browser(directory)
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}/"
            tab = browser.open(address, width=width, height=height, dark=dark)
            eventually(lambda: tab.value("document.readyState") == "complete")
            tab.screenshot(picture)
            picture.write_bytes(_compressed(picture.read_bytes()))
        finally:
            browser.stop()
            server.shutdown()
            server.server_close()


def _compressed(png: bytes) -> bytes:
    """Return the same picture in fewer bytes: chromium compresses in a hurry."""
    start, chunks, data = 8, [], b""
    while start < len(png):
        (length,) = struct.unpack_from(">I", png, start)
        kind, content = png[start + 4 : start + 8], png[start + 8 : start + 8 + length]
        start += length + 12
        if kind == b"IDAT":
            data += content
        elif kind in (b"IHDR", b"IEND"):
            chunks.append((kind, content))
    chunks.insert(1, (b"IDAT", zlib.compress(zlib.decompress(data), 9)))
    return png[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path, default=PICTURE)
    parser.add_argument("--pods", type=int, default=16)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=500)
    parser.add_argument("--dark", action="store_true")
    chosen = parser.parse_args(arguments)
    draw(chosen.picture, pods=chosen.pods, width=chosen.width, height=chosen.height, dark=chosen.dark)


if __name__ == "__main__":
    main()
