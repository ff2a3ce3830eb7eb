"""A headless Chromium, steered through a pipe (Chrome DevTools Protocol).  It listens on no port.

Chromium reads commands from descriptor 3 and writes results and events to descriptor 4, each a JSON document that ends
with a NUL byte.
"""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.harness.clock import scaled

#: Descriptors that nobody uses for the pipe's ends, before the shell moves them to 3 and 4.
_FROM = 20
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # which does not work as root
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--proxy-server=direct://",
)


class Browser:
    """A browser with a profile below *directory*.  End it with :meth:`stop`."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("chromium")
        assert program is not None, "chromium is not installed"
        (commands, self._commands), (self._results, results) = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, _FROM) for end in (commands, results)]
        os.close(commands)
        os.close(results)
        self.log = directory / "chromium.log"
        shell = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'
        command = [program, *_OPTIONS, f"--user-data-dir={directory}/profile", "about:blank"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "bash", "-c", shell, "browser", *command],
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"HOME": str(directory)},
            )
        for end in ends:
            os.close(end)
        self._serial = itertools.count(1)
        self._waiting: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def open(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Tab:
        """Open an address in a tab of its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        tab.call("Page.navigate", url=address)
        return tab

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command; return its result."""
        number = next(self._serial)
        answer: queue.Queue[dict[str, Any]] = queue.Queue()
        self._waiting[number] = answer
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        try:
            found = answer.get(timeout=scaled(60))
        except queue.Empty:
            raise AssertionError(f"chromium does not answer {method}:\n{self.log.read_text()[-2000:]}") from None
        assert "error" not in found, (method, found)
        result: dict[str, Any] = found["result"]
        return result

    def events(self, session: str) -> list[dict[str, Any]]:
        """Return the events of a tab so far."""
        return list(self._events.get(session, ()))

    def stop(self) -> None:
        """End the browser and all its processes."""
        os.close(self._commands)  # after which it ends by itself
        try:
            self._process.wait(scaled(10))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(scaled(10))
        os.close(self._results)

    def _read(self) -> None:
        buffer = b""
        while data := os.read(self._results, 1 << 16):
            *messages, buffer = (buffer + data).split(b"\0")
            for text in messages:
                message = json.loads(text)
                if "id" in message:
                    self._waiting.pop(message["id"]).put(message)
                else:
                    self._events.setdefault(message.get("sessionId", ""), []).append(message)


class Tab:
    """An open address."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this tab; return its result."""
        return self._browser.call(method, self._session, **parameters)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, or of the promise that it is."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def complaints(self) -> list[str]:
        """Return what a developer would see in the console: messages, exceptions, violations of the policy."""
        found = []
        for event in self._browser.events(self._session):
            method, parameters = event["method"], event["params"]
            if method == "Log.entryAdded":
                found.append(str(parameters["entry"]["text"]))
            elif method == "Runtime.consoleAPICalled":
                found.append(" ".join(str(one.get("value")) for one in parameters["args"]))
            elif method == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
        return found

    def requested(self) -> set[str]:
        """Return the addresses that the page has requested."""
        events = self._browser.events(self._session)
        return {str(one["params"]["request"]["url"]) for one in events if one["method"] == "Network.requestWillBeSent"}

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of what is visible, or of the whole page, as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
