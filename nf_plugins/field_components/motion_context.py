"""What a warp or an ambient network is told about the moment of the points it is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nf_plugins.field_components.frame_batch import FrameBatch


@dataclass(frozen=True)
class MotionContext:
    """The moment of G groups of points."""

    frames: FrameBatch
    """Frames of the groups."""
    alpha: Tensor
    """Progress of the encodings in [0, 1], scalar; see :mod:`nf_plugins.field_components.annealed_encoding`."""
    codes: Tensor | None = None
    """Code of each group ``(G, code_dim)``, for methods that learn one per frame."""

    def group_codes(self) -> Tensor:
        """The codes ``(G, code_dim)``.

        Raises:
            ValueError: The field has no codes.
        """
        if self.codes is None:
            raise ValueError("This warp or ambient network needs codes; give the field a FrameCodes module.")
        return self.codes

    def expanded_codes(self, points: Tensor) -> Tensor:
        """The codes beside every point, ``(G, P, code_dim)``; raises as :meth:`group_codes`."""
        return self.group_codes()[:, None].expand(-1, points.shape[1], -1).to(points.dtype)
