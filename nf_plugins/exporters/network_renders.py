"""How often a model asks its networks for a whole image while a video is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class RenderCount:
    """What a video cost; filled when the context ends."""

    whole_images: int = 0
    """Images rendered as any other."""
    key_times: int = 0
    """Frames whose planes were rendered to make images between frames."""

    @property
    def total(self) -> int:
        """Network renders of an image's size."""
        return self.whole_images + self.key_times


@contextmanager
def counted_renders(model: Any) -> Iterator[RenderCount]:
    """Counts within this context.

    Args:
        model: Of any nerfstudio method. One with an attribute ``between`` may answer from key times that it holds;
            those that it renders are counted by ``between.num_renders``.
    """
    count = RenderCount()
    name = "get_outputs_for_camera_ray_bundle" if hasattr(model, "between") else "get_outputs_for_camera"
    render = getattr(model, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        count.whole_images += 1
        return render(*args, **kwargs)

    before = _key_times(model)
    setattr(model, name, counting)
    try:
        yield count
    finally:
        delattr(model, name)
        count.key_times = _key_times(model) - before


def _key_times(model: Any) -> int:
    return getattr(getattr(model, "between", None), "num_renders", 0)
