"""nerfstudio's viewer in a real browser: the time slider is there, and moving it moves the picture."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Page, find_chromium, open_page, process_group, wait_until
from PIL import Image

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_chromium() is None, reason="no chromium on this machine (Debian: apt-get install chromium)"
    ),
]

VIEW = {"x": 0, "y": 60, "width": 460, "height": 380}
"""The part of the page that shows nothing but the scene, in pixels."""
MAX_RESOLUTION = 64
"""Longest side of the rendered picture; the smallest that the viewer allows."""

CONTROL = """
(() => {
  const label = [...document.querySelectorAll('label')].find((element) => element.innerText.trim() === '%s');
  return label && document.getElementById(label.htmlFor);
})()
"""
"""The input element of the control panel under a label."""


@pytest.fixture(scope="module")
def page(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of ns-viewer on a trained run, rendering small pictures from outside the scene."""
    folder = tmp_path_factory.mktemp("viewer")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ns_viewer = str(Path(sys.executable).with_name("ns-viewer"))
    command = [ns_viewer, "--load-config", str(tiny_run)]
    command += ["--viewer.websocket-host", "127.0.0.1", "--viewer.websocket-port", str(port)]
    with process_group(command, folder / "viewer.log") as viewer:
        wait_until(lambda: accepts_connections(port), "ns-viewer listens", 180, viewer)
        with open_page(f"http://127.0.0.1:{port}", folder) as page:
            wait_until(lambda: has_control(page, "Time"), "the control panel has Time", 120, viewer)
            type_number(page, "Max res", MAX_RESOLUTION)
            for _ in range(8):  # the first view is from inside the scene
                page.turn_wheel(VIEW["width"] / 2, VIEW["height"] / 2, 200)
            yield page


def accepts_connections(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0


def has_control(page: Page, label: str) -> bool:
    return page.evaluate(f"Boolean({CONTROL % label})")


def focus_slider(page: Page, label: str) -> None:
    page.evaluate(f"{CONTROL % label}.querySelector('[role=slider]').focus()")


def slider_value(page: Page, label: str) -> float:
    return float(page.evaluate(f"{CONTROL % label}.querySelector('[role=slider]').ariaValueNow"))


def type_number(page: Page, label: str, value: int) -> None:
    """Types a number into the field beside a slider, as a user does."""
    field = f"{CONTROL % label}.parentElement.querySelector('input[inputmode]')"
    page.evaluate(f"(() => {{ const field = {field}; field.focus(); field.select(); }})()")
    page.call("Input.insertText", text=str(value))
    page.press("Enter")


def wait_for_picture(page: Page, what: str, condition: Callable[[np.ndarray], bool] = lambda _: True) -> np.ndarray:
    """The view ``(H, W, 3)``, int16, once it is rendered at full resolution, stands still and meets a condition."""

    def picture() -> np.ndarray | None:
        shots = []
        for _ in range(3):  # a coarse picture comes before the final one
            shots.append(page.screenshot(**VIEW).astype(np.int16))
            time.sleep(0.8)
        moved = max(difference(shots[0], shots[1]), difference(shots[0], shots[2]))
        stands = f"Resolution: {MAX_RESOLUTION}x" in page.text() and moved < 0.1
        return shots[2] if stands and condition(shots[2]) else None

    return wait_until(picture, what, 90)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of two pictures, of 255."""
    return float(np.abs(first - second).mean())


def test_moving_the_time_slider_changes_the_picture_and_back(page: Page, tmp_path: Path) -> None:
    assert slider_value(page, "Time") == 0
    pictures = {"start": wait_for_picture(page, "a picture at time 0")}
    pictures["again"] = wait_for_picture(page, "a second picture at time 0")
    noise = difference(pictures["start"], pictures["again"])
    limit = 5 + 5 * noise

    focus_slider(page, "Time")
    page.press("End")
    assert slider_value(page, "Time") == 1
    pictures["end"] = wait_for_picture(
        page, "another picture at time 1", lambda picture: difference(picture, pictures["start"]) > limit
    )
    page.press("Home")
    assert slider_value(page, "Time") == 0
    pictures["back"] = wait_for_picture(
        page,
        "the first picture when time is 0 again",
        lambda picture: difference(picture, pictures["start"]) < limit / 2,
    )
    for name, picture in pictures.items():
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / f"{name}.png")
