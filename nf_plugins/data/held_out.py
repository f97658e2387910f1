"""Which pixels of a video are held out of training, and how to draw from the others without listing them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nf_plugins.errors import InputError

HeldOutProtocol = Literal["pixels", "frames", "none"]


class HeldOut:
    """The pixels that training never sees; the two published protocols of ResFields (Sec. 4, video).

    The draws, so that others can repeat them, with ``generator = numpy.random.RandomState(seed)``:

    ``pixels``
        For every frame in order ``generator.choice(H * W, int(fraction * H * W), replace=False)``; a pixel's number is
        ``row * W + column``.
    ``frames``
        ``generator.choice(T, int(fraction * T), replace=False)``, whole frames.
    ``none``
        No draw.

    It is shared, never copied: a deep copy is the object itself.

    Args:
        protocol: See above.
        num_frames: T.
        num_pixels: H * W.
        fraction: Part of the pixels or frames that is held out, between 0 and 1.
        seed: Of the draws.

    Attributes:
        pixels: Held-out pixels of every frame, ascending, int32 ``(T, K)``; K is 0 unless the protocol is ``pixels``.
        frames: Held-out frames, ascending, int64; empty unless the protocol is ``frames``.
        training_frames: The other frames, ascending, int64.

    Raises:
        InputError: Nothing would be held out, or nothing trained on.
    """

    def __init__(
        self, protocol: HeldOutProtocol, num_frames: int, num_pixels: int, fraction: float = 0.1, seed: int = 42
    ) -> None:
        if protocol not in ("pixels", "frames", "none"):
            raise InputError(f"--held-out is {protocol}, expected pixels, frames or none.")
        self.protocol = protocol
        self.num_frames = num_frames
        self.num_pixels = num_pixels
        generator = np.random.RandomState(seed)
        count = 0
        if protocol != "none":
            whole, unit = (num_pixels, "pixels of a frame") if protocol == "pixels" else (num_frames, "frames")
            count = held_out_count(fraction, whole, unit)
        pixels = np.zeros((num_frames, 0), dtype=np.int32)
        frames = np.zeros(0, dtype=np.int64)
        if protocol == "pixels":
            drawn = [generator.choice(num_pixels, count, replace=False) for _ in range(num_frames)]
            pixels = np.sort(np.array(drawn, dtype=np.int32), axis=1)
        elif protocol == "frames":
            if num_frames - count < 2:
                raise InputError(
                    f"--held-out-fraction {fraction:g} leaves {num_frames - count} of {num_frames} frames to train on, "
                    "expected at least 2: hold out fewer."
                )
            frames = np.sort(generator.choice(num_frames, count, replace=False))
        self.pixels = torch.from_numpy(pixels)
        self.frames = torch.from_numpy(frames)
        self.training_frames = torch.from_numpy(np.setdiff1d(np.arange(num_frames), frames))
        self._numbers_passed = self.pixels - torch.arange(count if protocol == "pixels" else 0, dtype=torch.int32)

    def __deepcopy__(self, memo: dict[int, Any]) -> HeldOut:
        return self

    @property
    def test_frames(self) -> Tensor:
        """Frames that hold held-out pixels, int64."""
        return torch.arange(self.num_frames) if self.protocol == "pixels" else self.frames

    @property
    def num_training_pixels(self) -> int:
        """Training pixels of each training frame."""
        return self.num_pixels - self.pixels.shape[1]

    def training_pixels(self, ranks: Tensor, rows: Tensor | None = None) -> Tensor:
        """Numbers of training pixels by their position among the training pixels of their frame.

        Args:
            ranks: Positions in [0, num_training_pixels), ``(F, S)``, a row for every training frame, or for
                those of ``rows``.
            rows: Positions among the training frames ``(F,)``.

        Returns:
            Pixel numbers, int64 ``(F, S)``, on the device of ``ranks``.
        """
        if not self.pixels.shape[1]:
            return ranks.long()
        if self._numbers_passed.device != ranks.device:
            self._numbers_passed = self._numbers_passed.to(ranks.device)
        # The j-th held-out pixel h_j comes before the rank-th training pixel exactly when h_j - j <= rank.
        passed = self._numbers_passed if rows is None else self._numbers_passed[rows.to(ranks.device)]
        return ranks.long() + torch.searchsorted(passed, ranks.to(torch.int32), right=True)

    def test_pixels(self, frame: int) -> Tensor:
        """Numbers of the held-out pixels of a frame, ascending, int64."""
        if self.protocol == "pixels":
            return self.pixels[frame].long()
        return torch.arange(self.num_pixels if bool((self.frames == frame).any()) else 0)

    def is_training(self, frame: int) -> Tensor:
        """Whether a pixel of a frame is trained on, bool ``(num_pixels,)``."""
        mask = torch.ones(self.num_pixels, dtype=torch.bool)
        mask[self.test_pixels(frame)] = False
        return mask


def held_out_count(fraction: float, whole: int, unit: str) -> int:
    """``int(fraction * whole)``, at least one and not all.

    Raises:
        InputError: None or all of them.
    """
    if not 0 < fraction < 1:
        raise InputError(f"--held-out-fraction is {fraction:g}, expected a number between 0 and 1.")
    count = int(fraction * whole)
    if count < 1:
        raise InputError(
            f"--held-out-fraction {fraction:g} of {whole} {unit} is none; raise it, or take --held-out none."
        )
    return count
