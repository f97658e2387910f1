"""What every method of this package shares: needed inputs, wrong checkpoints, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor

from nf_plugins.errors import InputError
from nf_plugins.model_components.occupancy_cache import OccupancyCache
from nf_plugins.models.required_inputs import require_inputs


@dataclass
class CheckedModelConfig(ModelConfig):
    """What all methods share."""

    _target: type = field(default_factory=lambda: CheckedModel)
    """Target class to instantiate."""


class CheckedModel(Model):
    """Base of all methods, of still and of moving scenes.

    Attributes:
        scene_aabb: Lower and upper corner of the scene ``(2, 3)``, scene units.
        background_color: Colour ``(3,)`` that the data's images are composited on.
        occupancy_cache: Where space is occupied, for rendering; neither a buffer nor a module, so that no checkpoint
            holds it.
    """

    scene_aabb: Tensor
    background_color: Tensor
    default_density_threshold: ClassVar[float | None] = None
    """Density per world unit above which a cell of a cache is occupied unless a command says otherwise; None goes by
    the optical depth across a cell, which means the same in any unit."""

    def populate_modules(self) -> None:
        """Registers what the dataparser says of space and background."""
        self.metadata: dict[str, Any] = self.kwargs.get("metadata") or {}
        background = self.metadata.get("background_color")
        self.register_buffer("scene_aabb", self.metadata.get("scene_aabb", self.scene_box.aabb).float())
        self.register_buffer("background_color", torch.ones(3) if background is None else background.float())
        self.occupancy_cache: OccupancyCache | None = None
        self._lpips: Any = None

    def density_at(self, points: Tensor, time: float) -> Tensor:
        """Density per scene unit ``(N, 1)`` at points ``(N, 3)``, scene units, and a time in [0, 1].

        Raises:
            InputError: The method has none.
        """
        raise InputError(
            f"{type(self).__name__} has no volume density that could be asked at points, so an occupancy cache is of "
            "no use to it: render without one."
        )

    def frame_box(self, time: float) -> Tensor:
        """The box ``(2, 3)`` outside which nothing is rendered at a time in [0, 1], scene units."""
        return self.scene_aabb

    def use_occupancy_cache(self, cache: OccupancyCache | None) -> None:
        """Renders with a cache from now on; None renders without.

        Raises:
            InputError: The method has no volume density.
        """
        if cache is not None and type(self).density_at is CheckedModel.density_at:
            self.density_at(self.scene_aabb, 0.0)
        self.occupancy_cache = cache

    def required_inputs(self) -> list[str]:
        """Metadata keys without which training makes no sense; checked before step 0."""
        return []

    def ways_out(self) -> dict[str, str] | None:
        """For needed inputs, a sentence on how to do without; None for what holds for most methods."""
        return None

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """Checks the inputs; subclasses add their callbacks."""
        require_inputs(type(self).__name__, self.metadata, self.required_inputs(), self.ways_out())
        return []

    def signature(self) -> dict[str, str]:
        """What a checkpoint must agree on besides the shapes of its tensors."""
        return {"model": type(self).__name__}

    def get_extra_state(self) -> dict[str, str]:
        """The signature, stored with the parameters."""
        return self.signature()

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Nothing to restore: :meth:`load_state_dict` has compared it."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Loads a checkpoint of this very model.

        Raises:
            InputError: Another method, encoding or size: nerfstudio would silently load what fits.
        """
        own = self.state_dict()
        theirs = state_dict.get("_extra_state", {})
        problems = [
            f"says {name} = {theirs.get(name)} where {value} is expected"
            for name, value in own.pop("_extra_state").items()
            if theirs.get(name, value) != value
        ]
        problems += [f"lacks '{key}'" for key in own if key not in state_dict]
        problems += [f"has '{key}'" for key in state_dict if key not in own and key != "_extra_state"]
        problems += [
            f"has '{key}' of shape {tuple(state_dict[key].shape)} instead of {tuple(value.shape)}"
            for key, value in own.items()
            if key in state_dict and state_dict[key].shape != value.shape
        ]
        if problems:
            more = f" and {len(problems) - 1} more differences" if len(problems) > 1 else ""
            raise InputError(
                f"The checkpoint is of another method or size than {type(self).__name__} as configured: it "
                f"{problems[0]}{more}; load it with the config.yml that lies beside it."
            )
        return super().load_state_dict(state_dict, strict=True, assign=assign)

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Colour without background and opacity ``(*batch, 4)``: what ns-export and RGBA renders take."""
        opacity = outputs["accumulation"]
        foreground = outputs[output_name] - (1 - opacity) * self.background_color.to(opacity)
        return torch.cat([(foreground / opacity.clamp(min=1e-6)).clamp(0, 1), opacity], dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics of one evaluation image, full and over the foreground, and pictures side by side.

        Args:
            outputs: What ``get_outputs_for_camera`` returned, ``(H, W, C)``.
            batch: The image's entry of the dataset.

        Returns:
            psnr, ssim (and lpips when its weights can be had), ``*_fg`` with masks; pictures ``(H, W, 3)``.
        """
        from nf_plugins.evaluation.evaluate import image_metrics

        true_image = batch["image"].to(outputs["rgb"])
        fg_mask = batch["fg_mask"].to(true_image) if "fg_mask" in batch else None
        values = image_metrics(outputs["rgb"], true_image, fg_mask, outputs.get("accumulation"), lpips=self.lpips)
        metrics: dict[str, float] = {}
        for name, value in values.items():
            if value is not None:
                metrics[name] = value
            elif fg_mask is not None and not name.startswith("lpips"):
                # nerfstudio averages what the first image has, so every image has to have the same.
                metrics[name] = float("nan")
        images = {"img": torch.cat([true_image, outputs["rgb"]], dim=1)}
        for name in ("normal_rgb", "accumulation"):
            if name in outputs:
                images[name] = outputs[name].expand(-1, -1, 3)
        return metrics, images

    @property
    def lpips(self) -> Any:
        """The LPIPS metric, built at first use."""
        if self._lpips is None:
            from nf_plugins.evaluation.lpips import LazyLPIPS

            self._lpips = LazyLPIPS()
        return self._lpips
