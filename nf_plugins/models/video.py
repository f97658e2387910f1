"""Videos as coordinate networks with residual layers (ResFields, ICLR 2024, video approximation)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torch.nn import Parameter

from nf_plugins.data.held_out import HeldOut
from nf_plugins.data.parallel import late_progress
from nf_plugins.data.video_clip import VideoClip
from nf_plugins.field_components.frame_batch import FrameBatch, group_rows
from nf_plugins.fields.coordinate_field import CoordinateField, CoordinateFieldConfig, coefficient_rows
from nf_plugins.model_components.picture_plane import PicturePlane
from nf_plugins.models.dynamic_model import DynamicModel, DynamicModelConfig
from nf_plugins.models.required_inputs import require_inputs


@dataclass
class VideoModelConfig(DynamicModelConfig):
    """A video as a function of time, row and column; the defaults are the published SIREN with residual layers."""

    _target: type = field(default_factory=lambda: VideoModel)
    """Target class to instantiate."""
    field: CoordinateFieldConfig = field(default_factory=lambda: CoordinateFieldConfig(hidden_dim=512))
    """The network."""
    rgb_loss_mult: float = 1000.0
    """Weight of the mean squared colour error."""
    eval_num_rays_per_chunk: int = 100_000
    """Pixels per forward pass when rendering and measuring."""
    enable_collider: bool = False
    """Rays meet the picture plane; they have no near and far end."""


class VideoModel(DynamicModel):
    """The picture plane of a video: a ray shows the colour at the time and place where it meets the rectangle.

    The field takes ``(t, y, x)``, each in [-1, 1]: t is 2 f / (T - 1) - 1 at frame f and moves on smoothly between
    frames, while residual layers in lookup mode take the nearest frame's weights.
    """

    config: VideoModelConfig

    def populate_modules(self) -> None:
        """Builds the field."""
        super().populate_modules()
        require_inputs(type(self).__name__, self.metadata, ["picture_size"])
        self.plane = PicturePlane(*self.metadata["picture_size"])
        self.field: CoordinateField = self.config.field.setup(in_dim=3, out_dim=3, num_frames=len(self.frame_times))

    def get_param_groups(self) -> dict[str, list[Parameter]]:
        """One group, as published."""
        return {"fields": list(self.field.parameters())}

    def signature(self) -> dict[str, str]:
        """Adds what the sizes of the network do not tell."""
        config = self.config.field
        return super().signature() | {
            "network": config.network,
            "omega": f"{config.omega:g}",
            "residual_mode": config.residual_mode,
            "residual_factorisation": config.residual_factorisation,
            "residual_fuse": config.residual_fuse,
            "residual_faithful": str(config.residual_faithful),
        }

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """No callback; warns of held-out frames whose residuals would stay as they started."""
        config = self.config.field
        residual = config.network != "hash_grid" and len(config.residual_layers) > 0
        rows = (coefficient_rows(config, len(self.frame_times)) if residual else None) or len(self.frame_times)
        if self.held_out.protocol == "frames" and residual and rows >= len(self.frame_times):
            CONSOLE.print(
                "[bold yellow]Warning: held-out frames have coefficients of their own, which no training frame moves: "
                "use --pipeline.model.field.residual-mode interpolation with --pipeline.model.field.coefficient-ratio "
                "below 1 (0.3, say).",
                soft_wrap=True,
            )
        return super().get_training_callbacks(training_callback_attributes)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Shows rays ``(R,)``.

        Returns:
            ``rgb`` (R, 3), the background beside the rectangle, not limited to [0, 1] while training;
            ``accumulation`` (R, 1), 1 on the rectangle; ``depth`` (R, 1), the distance to it.
        """
        times = self.ray_times(ray_bundle)
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            place, depth, inside = self.plane.intersect(ray_bundle.origins, ray_bundle.directions)
            rgb = self.background_color.to(place).expand(len(place), 3)
            kept = inside.nonzero()[:, 0]
            if len(kept) == len(place):
                rgb = self.colors_at(place, times[:, 0])
            elif len(kept):
                rgb = rgb.index_copy(0, kept, self.colors_at(place[kept], times[kept, 0]))
        return {
            "rgb": rgb if self.training else rgb.clamp(0, 1),
            "accumulation": inside[:, None].to(rgb),
            "depth": depth,
        }

    def colors_at(self, place: Tensor, times: Tensor) -> Tensor:
        """Colours ``(N, 3)``, unbounded, at picture coordinates (y, x) ``(N, 2)`` and times in [0, 1] ``(N,)``."""
        groups = group_rows(times)
        frames = FrameBatch.from_times(groups.keys, self.frame_times)
        place = groups.split(place)
        time = (2 * groups.keys - 1)[:, None, None].expand(*place.shape[:2], 1)
        return groups.merge(self.field(torch.cat([time, place], dim=-1), frames))

    def get_loss_dict(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor], metrics_dict: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The weighted mean squared error over pixels and channels."""
        error = (outputs["rgb"] - batch["image"].to(self.device)).square().mean()
        return {"rgb_loss": self.config.rgb_loss_mult * error}

    @torch.no_grad()
    def get_metrics_dict(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """PSNR of the batch; in evaluation also ``psnr_test`` over all held-out pixels of all frames."""
        error = (outputs["rgb"] - batch["image"].to(self.device)).square().mean()
        metrics = {"psnr": -10 * torch.log10(error)}
        if not self.training and self.held_out.protocol != "none":
            metrics["psnr_test"] = torch.tensor(self.protocol_results(("psnr_test",))["psnr_test"])
        return metrics

    @property
    def clip(self) -> VideoClip:
        """The video."""
        return self.metadata["video_clip"]

    @property
    def held_out(self) -> HeldOut:
        """Which of its pixels are held out."""
        return self.metadata["held_out"]

    @torch.no_grad()
    def protocol_results(self, names: Sequence[str] = ("psnr_test", "psnr_train")) -> dict[str, float | None]:
        """The numbers of the published protocol.

        Args:
            names: ``psnr_test`` is taken over all held-out pixels of all frames, ``psnr_train`` over all others. Each
                is -10 log10 of one mean squared error over pixels and channels; colours are not limited to [0, 1].

        Returns:
            A value for every name; None where there are no such pixels, inf without any error.
        """
        error = dict.fromkeys(names, 0.0)
        count = dict.fromkeys(names, 0)
        with late_progress("Measuring PSNR", self.clip.num_frames) as advance:
            for frame in range(self.clip.num_frames):
                is_training = self.held_out.is_training(frame)
                for name in names:
                    pixels = (is_training if name == "psnr_train" else ~is_training).nonzero()[:, 0]
                    error[name] += self.squared_error(frame, pixels)
                    count[name] += 3 * len(pixels)
                advance()
        return {name: psnr_of_sum(error[name], count[name]) for name in names}

    def squared_error(self, frame: int, pixels: Tensor) -> float:
        """Squared error, summed over channels and pixels ``(N,)`` of a frame of the clip."""
        total = 0.0
        for chunk in pixels.split(self.config.eval_num_rays_per_chunk):
            if len(chunk):
                target = self.clip.pixels()[frame, chunk].to(self.device).float() / 255
                total += float((self.pixel_colors(frame, chunk) - target).square().mean()) * target.numel()
        return total

    def pixel_colors(self, frame: int, pixels: Tensor) -> Tensor:
        """Colours ``(N, 3)``, unbounded, of pixels ``row * W + column`` of a frame of the clip."""
        pixels = pixels.to(self.device)
        rows, columns = pixels.div(self.plane.width, rounding_mode="floor"), pixels % self.plane.width
        times = self.frame_times[frame].expand(len(pixels))
        return self.colors_at(self.plane.pixel_coordinates(rows, columns), times)


def psnr_of_sum(squared_error: float, count: int) -> float | None:
    """PSNR in dB of a sum of squared errors over so many values; None over none."""
    if count == 0:
        return None
    return math.inf if squared_error == 0 else -10 * math.log10(squared_error / count)
