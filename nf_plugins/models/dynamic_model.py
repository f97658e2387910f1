"""What every dynamic method shares: times."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.models.checked_model import CheckedModel, CheckedModelConfig
from nf_plugins.models.required_inputs import require_inputs


@dataclass
class DynamicModelConfig(CheckedModelConfig):
    """Fields that all dynamic methods share."""

    _target: type = field(default_factory=lambda: DynamicModel)
    """Target class to instantiate."""
    default_time: float | None = None
    """Time in [0, 1] given to rays that carry none (stock ns-export); without it such rays are an error."""


class DynamicModel(CheckedModel):
    """Base of the dynamic methods.

    Attributes:
        frame_times: Training times ``(T,)``.
    """

    config: DynamicModelConfig
    frame_times: Tensor

    def populate_modules(self) -> None:
        """Registers what the dataparser says of time, space and background."""
        require_inputs(type(self).__name__, self.kwargs.get("metadata") or {}, ["frame_times"])
        super().populate_modules()
        self.register_buffer("frame_times", self.metadata["frame_times"].float())
        default_time = self.config.default_time
        if default_time is not None and not 0 <= default_time <= 1:
            raise InputError(f"--pipeline.model.default-time {default_time} is outside [0, 1].")
        self._said_default_time = False

    def ray_times(self, ray_bundle: RayBundle) -> Tensor:
        """Times of rays ``(*batch, 1)``; the configured default, said once, where the rays carry none.

        Raises:
            InputError: Rays without times and no default.
        """
        if ray_bundle.times is not None:
            return ray_bundle.times
        if self.config.default_time is None:
            raise InputError(
                "This scene moves and the rays carry no time (ns-export and ns-render interpolate send none): use "
                "nf-render or nf-export, which do, or train with --pipeline.model.default-time in [0, 1]."
            )
        if not self._said_default_time:
            CONSOLE.print(f"Rays without time are rendered at default_time = {self.config.default_time}.")
            self._said_default_time = True
        return torch.full_like(ray_bundle.origins[..., :1], self.config.default_time)
