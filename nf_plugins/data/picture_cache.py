"""Pictures that were read lately."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from torch import Tensor

from nf_plugins.data.source_crops import Rectangle

CACHE_BYTES = 256 * 1024**2


class Picture(NamedTuple):
    """What is cut out of an image, on the CPU."""

    pixels: Tensor
    """uint8 ``(h, w, 3)``."""
    mask: Tensor
    """uint8 ``(h, w)``, 255 = foreground."""
    rectangle: Rectangle
    """Where it was cut out."""


class PictureCache:
    """Pictures by key, the least recently used forgotten first; for several threads."""

    def __init__(self, num_bytes: int) -> None:
        self._limit, self._used = num_bytes, 0
        self._kept: OrderedDict[Hashable, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Picture]) -> Picture:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        # Outside the lock: two threads may make the same, but neither waits for other pictures.
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._used += _num_bytes(made)
            while self._used > self._limit and len(self._kept) > 1:
                self._used -= _num_bytes(self._kept.popitem(last=False)[1])
        return made


def _num_bytes(picture: Picture) -> int:
    return picture.pixels.numel() + picture.mask.numel()
