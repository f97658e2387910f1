"""A headless Chromium that shows one page, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # pages get no network, even where there is one
    "--remote-debugging-port=0",
)
KEY_CODES = {"Home": 36, "End": 35, "Enter": 13}


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextlib.contextmanager
def process_group(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program with its output in a file; it and its children are gone at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(
    condition: Callable[[], Any], what: str, seconds: float, process: subprocess.Popen[bytes] | None = None
) -> Any:
    """The first value of a condition that is neither None nor False.

    An AssertionError says what was waited for when the time is over or the process has ended.
    """
    end = time.monotonic() + seconds
    while (value := condition()) is None or value is False:
        assert process is None or process.poll() is None, f"the process ended before: {what}"
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
    return value


class Page:
    """The one page of a running browser."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.last_id = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a DevTools command and waits for its result."""
        self.last_id += 1
        self.socket.send(json.dumps({"id": self.last_id, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.last_id:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def text(self) -> str:
        """The text that the page shows."""
        return self.evaluate("document.body ? document.body.innerText : ''")

    def press(self, key: str) -> None:
        """Presses a key on the focused element."""
        for kind in ("rawKeyDown", "keyUp"):
            code = KEY_CODES[key]
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def turn_wheel(self, x: float, y: float, delta: float) -> None:
        """Turns the mouse wheel over a point of the page."""
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)

    def screenshot(self, x: float, y: float, width: float, height: float) -> np.ndarray:
        """A part of the page as it looks now, uint8 ``(H, W, 3)``."""
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", clip=clip)["data"]
        return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@contextlib.contextmanager
def open_page(url: str, folder: Path, size: tuple[int, int] = (800, 600)) -> Iterator[Page]:
    """Opens a URL in a new browser whose profile and log lie in a folder."""
    from websockets.sync.client import connect  # viser, which is nerfstudio's viewer, brings it

    chromium = find_chromium()
    assert chromium is not None
    profile = folder / "profile"
    profile.mkdir()
    window = f"--window-size={size[0]},{size[1]}"
    command = [chromium, *FLAGS, window, f"--user-data-dir={profile}", "about:blank"]
    with process_group(command, folder / "browser.log") as browser:
        port_file = profile / "DevToolsActivePort"
        port = wait_until(
            lambda: (port_file.read_text().split() or [None])[0] if port_file.exists() else None,
            "the browser tells its port",
            60,
            browser,
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            targets = json.load(answer)
        address = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
        with connect(address, max_size=None, open_timeout=60) as socket:
            page = Page(socket)
            page.call("Page.enable")
            page.call("Page.navigate", url=url)
            yield page
