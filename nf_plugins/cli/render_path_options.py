"""Options of paths around the subject, and of focal lengths that change along a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras
    from torch import Tensor

RING_PATHS = ("circle", "spiral")


@dataclass
class RingPathOptions:
    """Where a camera goes on the ring, and how it zooms."""

    arc_degrees: tuple[float, float] = (-180.0, 180.0)
    """With --path circle: first and last azimuth, counter-clockwise seen from above; 0 is at --camera-index, or with
    --circle-center the x axis."""
    pitch_degrees: float | None = None
    """With --path circle or spiral: turn the camera downwards by this where it stands (default: 0; 15 with
    --circle-center, as published)."""
    turns: float = 2.0
    """With --path spiral: how many times round."""
    spiral_amplitudes: tuple[float, float] = (0.2, 0.3)
    """With --path spiral: by how much the camera comes nearer in the middle of its way, and rises and sinks, as parts
    of the ring's radius."""
    circle_center: tuple[float, float, float] | None = None
    """With --path circle: the circle's centre in the capture's own units, instead of a fitted circle; cameras look
    inwards along its plane and are pitched (published: 0 0 1.8 for ZJU-MoCap, 0 -0.8 0 for DNA-Rendering)."""
    circle_radius: float = 3.0
    """With --circle-center: its radius in the capture's own units."""
    circle_up: Literal["y", "z"] = "z"
    """With --circle-center: the capture's vertical axis; y points down (published: z for ZJU-MoCap, y for
    DNA-Rendering)."""
    zoom_ratios: tuple[float, ...] = ()
    """Multiply focal lengths by these along any path."""
    zoom_knots: tuple[float, ...] = ()
    """Numbers of the frames, from 0, at which the zoom ratios are reached (default: spread from the first frame to the
    last)."""
    zoom_easing: Literal["linear", "smoothstep", "smootherstep"] = "smoothstep"
    """How a zoom starts and stops."""

    def check_path(self, path: str | None) -> None:
        """Raise InputError for options that do not go together; ``path`` is None where a file gives it."""
        if self.circle_center is not None and path != "circle":
            raise InputError("--circle-center needs --path circle.")
        if self.pitch_degrees is not None and path not in RING_PATHS:
            raise InputError("--pitch-degrees needs --path circle or --path spiral.")
        if self.circle_radius <= 0:
            raise InputError(f"--circle-radius must be positive, found {self.circle_radius:g}.")
        if not 0 <= self.spiral_amplitudes[0] < 1:
            raise InputError(
                f"--spiral-amplitudes {self.spiral_amplitudes[0]:g} {self.spiral_amplitudes[1]:g}: expected the first "
                "to be at least 0 and below 1, or the camera passes through the subject."
            )
        if self.zoom_knots and not self.zoom_ratios:
            raise InputError("--zoom-knots needs --zoom-ratios.")
        if self.zoom_ratios:
            from nf_plugins.exporters.path_schedules import zoom_factors

            zoom_factors(2, self.zoom_knots or None, self.zoom_ratios, self.zoom_easing)

    def ring_cameras(self, split: Any, times: Tensor, path: str, camera_index: int) -> Cameras:
        """Cameras of the path circle or spiral around what a split's cameras look at.

        Raises:
            InputError: There is no camera of this index, or all cameras are one.
        """
        import torch

        from nf_plugins.exporters.ring_paths import (
            cameras_from_world,
            circle_cameras,
            fit_ring,
            published_circle,
            spiral_cameras,
        )

        if not 0 <= camera_index < len(split.cameras):
            raise InputError(f"--camera-index {camera_index}: the split has {len(split.cameras)} cameras.")
        like = split.cameras[camera_index : camera_index + 1]
        if self.circle_center is not None:
            pitch = 15.0 if self.pitch_degrees is None else self.pitch_degrees
            center = torch.tensor(self.circle_center)
            circle = published_circle(
                center,
                self.circle_radius,
                len(times),
                degrees=self.arc_degrees,
                up=self.circle_up,
                pitch_degrees=pitch,
            )
            return cameras_from_world(circle, like, times, split.metadata.get("world_from_scene"))
        ring, pitch = fit_ring(split.cameras), self.pitch_degrees or 0.0
        if path == "circle":
            return circle_cameras(ring, like, times, self.arc_degrees, pitch)
        nearer, higher = self.spiral_amplitudes
        return spiral_cameras(
            ring, like, times, turns=self.turns, radius_amplitude=nearer, height_amplitude=higher, pitch=pitch
        )

    def with_zoom(self, cameras: Cameras) -> Cameras:
        """The same cameras with the focal lengths that the options ask for."""
        if not self.zoom_ratios:
            return cameras
        from nf_plugins.exporters.path_schedules import zoom_factors, zoomed

        factors = zoom_factors(len(cameras), self.zoom_knots or None, self.zoom_ratios, self.zoom_easing)
        return zoomed(cameras, factors)
