"""Pixels of a lens that bends light, as the pinhole camera with the same focal lengths and principal point sees them.

Rays of such a lens are right, because nerfstudio bends them. What is compared with the projection of a point by a
pinhole, such as where optical flow leads, has to be brought to the pinhole's pixels first.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray
from torch import Tensor

from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError
from nf_plugins.model_components.lens_distortion import distort, largest_squared_radius, undistort

WIDEST_ANGLE = math.radians(80)
"""Off the axis, up to which directions of a fisheye are given pinhole pixels; at 90 degrees they are infinite."""
GRID_POINTS = 65
"""Along either side of an image, where a lens is looked at as a whole."""


class PinholePixels(NamedTuple):
    """Positions in the pinhole's image."""

    pixels: Tensor
    """(*batch, 2), column and row, float64; the given ones where they are not known."""
    known: Tensor
    """(*batch), bool: whether the distortion could be undone, and the direction is less than ``WIDEST_ANGLE`` off the
    axis of a fisheye."""


def is_pinhole(lens: Lens) -> bool:
    """Whether a lens does not bend light at all."""
    return not lens.fisheye and not any(lens.distortion)


def without_distortion(lens: Lens) -> Lens:
    """The pinhole with the same focal lengths and principal point."""
    return replace(lens, distortion=(0.0,) * 6, fisheye=False)


def lens_of_camera(cameras: Cameras, index: int) -> Lens:
    """The lens of one of cameras (N,)."""
    camera = cameras[index]
    distortion = (0.0,) * 6 if camera.distortion_params is None else tuple(camera.distortion_params.tolist())
    return Lens(
        width=int(camera.width),
        height=int(camera.height),
        fx=float(camera.fx),
        fy=float(camera.fy),
        cx=float(camera.cx),
        cy=float(camera.cy),
        distortion=distortion,
        fisheye=int(camera.camera_type) == CameraType.FISHEYE.value,
    )


def pixel_centres(height: int, width: int) -> Tensor:
    """Column and row of every pixel's centre, (height, width, 2), float64."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    return torch.stack([columns, rows], dim=-1) + 0.5


def pinhole_pixels(pixels: Tensor, lens: Lens) -> PinholePixels:
    """Where the pinhole sees what a lens sees at pixels (*batch, 2), which may lie outside the image."""
    focals, centre = _focals_and_centre(lens)
    points, known = undistort((pixels.double() - centre) / focals, _distortion(lens))
    if lens.fisheye:
        # The undistorted radius of a fisheye is the angle off its axis.
        angles = points.norm(dim=-1)
        known = known & (angles < WIDEST_ANGLE)
        angles = angles.clamp(min=1e-12, max=WIDEST_ANGLE)
        points = points * (angles.tan() / angles)[..., None]
    return PinholePixels(torch.where(known[..., None], focals * points + centre, pixels.double()), known)


def lens_pixels(pixels: Tensor, lens: Lens) -> PinholePixels:
    """The way back: where a lens sees what the pinhole sees at pixels (*batch, 2), as far as the formula holds."""
    focals, centre = _focals_and_centre(lens)
    points = (pixels.double() - centre) / focals
    if lens.fisheye:
        slopes = points.norm(dim=-1).clamp(min=1e-12)
        points = points * (slopes.atan() / slopes)[..., None]
    known = points.square().sum(-1) < largest_squared_radius(_distortion(lens))
    seen = focals * distort(points, _distortion(lens)) + centre
    return PinholePixels(torch.where(known[..., None], seen, pixels.double()), known)


def pinhole_flow(flow: Tensor, valid: Tensor, start: PinholePixels, lens: Lens) -> tuple[Tensor, Tensor]:
    """Optical flow between the pinhole's images of what flows between images of a lens.

    Args:
        flow: (H, W, 2), pixels of the lens's image.
        valid: (H, W, 1), 1 where the flow may be trusted.
        start: Pinhole pixels (H, W) of the pixels' centres.
        lens: Of both images.

    Returns:
        The flow in pinhole pixels (H, W, 2), and where it is valid (H, W, 1); 0 and not valid where either end is not
        known.
    """
    end = pinhole_pixels(pixel_centres(*flow.shape[:2]) + flow.double(), lens)
    known = (start.known & end.known)[..., None]
    return torch.where(known, end.pixels - start.pixels, 0.0).to(flow), valid * known


def covering_pinhole(lens: Lens) -> Lens:
    """The pinhole whose image just holds all that a lens sees, as far as that is known; a pinhole covers itself."""
    if is_pinhole(lens):
        return lens
    pixels, known = pinhole_pixels(_grid(lens), lens)
    if not bool(known.any()):
        return without_distortion(lens)
    left, top = pixels[known].amin(dim=0).tolist()
    right, bottom = pixels[known].amax(dim=0).tolist()
    return Lens(math.ceil(right - left), math.ceil(bottom - top), lens.fx, lens.fy, lens.cx - left, lens.cy - top)


def unknown_share(lens: Lens) -> float:
    """Which part of the image has no pinhole pixels."""
    return 0.0 if is_pinhole(lens) else 1 - float(pinhole_pixels(_grid(lens), lens).known.double().mean())


def largest_displacement(lens: Lens, other: Lens | None = None) -> float:
    """By how many pixels two lenses at most differ in where the pinhole sees a pixel; infinite where one knows none.

    Args:
        other: None for the pinhole itself.
    """
    grid = _grid(lens)
    found = pinhole_pixels(grid, lens)
    expected = PinholePixels(grid, torch.ones_like(found.known)) if other is None else pinhole_pixels(grid, other)
    if bool((found.known != expected.known).any()):
        return math.inf
    return float((found.pixels - expected.pixels)[found.known].norm(dim=-1).amax()) if bool(found.known.any()) else 0.0


def sees(points: NDArray[np.float64], lens: Lens) -> NDArray[np.bool_]:
    """Which pinhole pixels (N, 2) a lens has in its image."""
    if is_pinhole(lens):
        pixels, known = points, True
    else:
        found = lens_pixels(torch.from_numpy(points), lens)
        pixels, known = found.pixels.numpy(), found.known.numpy()
    x, y = pixels[:, 0], pixels[:, 1]
    return known & (x >= 0) & (x < lens.width) & (y >= 0) & (y < lens.height)


def require_pinhole_pixels(lens: Lens, source: Path) -> None:
    """A fisheye sees no more than a pinhole can, as normalised device coordinates need it.

    Raises:
        InputError: It does.
    """
    share = unknown_share(lens) if lens.fisheye else 0.0
    if share > 0:
        raise InputError(
            f"The fisheye lens of {source} looks {math.degrees(WIDEST_ANGLE):.0f} degrees or more off its axis in "
            f"{share:.0%} of the image (or its distortion cannot be undone there), expected less, because normalised "
            "device coordinates see forwards alone: crop the images or make pinhole images of them, as COLMAP's "
            "image_undistorter does, or use --space contracted."
        )


def warn_of_unknown_pixels(lens: Lens, source: Path) -> None:
    """Says so when part of what a lens sees has no pinhole pixels."""
    share = unknown_share(lens)
    if share > 0:
        why = "it looks too far off its axis" if lens.fisheye else "its distortion cannot be undone"
        CONSOLE.print(
            f"[yellow]In {share:.1%} of the image no pinhole sees what the lens of {source} does, because {why} there. "
            "Flow is not used there, and rays may be wrong: crop the images, or calibrate with another camera model.",
            soft_wrap=True,
        )


def _grid(lens: Lens) -> Tensor:
    """Pixels evenly spread over an image from edge to edge, (GRID_POINTS ** 2, 2)."""
    columns = torch.linspace(0, lens.width, GRID_POINTS, dtype=torch.float64)
    rows = torch.linspace(0, lens.height, GRID_POINTS, dtype=torch.float64)
    return torch.cartesian_prod(columns, rows)


def _focals_and_centre(lens: Lens) -> tuple[Tensor, Tensor]:
    numbers = torch.tensor([lens.fx, lens.fy, lens.cx, lens.cy], dtype=torch.float64)
    return numbers[:2], numbers[2:]


def _distortion(lens: Lens) -> Tensor:
    return torch.tensor(lens.distortion, dtype=torch.float64)
