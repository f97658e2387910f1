"""Photographs of a standing object, with masks and cameras, become IDR's and NeuS' layout."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.data import transforms_json as tj
from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import flip_camera_axes
from nf_plugins.data.normalising_sphere import NormalisingSphere, normalising_sphere, require_cameras_outside
from nf_plugins.data.parallel import threaded_map
from nf_plugins.data.processing.foreground import reduce_mask
from nf_plugins.data.processing.frame_sources import reduce_image
from nf_plugins.data.processing.known_cameras import KnownCamera
from nf_plugins.data.processing.options import MaskedViewsOptions
from nf_plugins.data.processing.output_folder import check_output_folder, new_capture_folder
from nf_plugins.data.processing.photograph_cameras import lenses_at, read_photograph_cameras
from nf_plugins.data.processing.photographs import (
    ImageFolder,
    find_masks,
    list_images,
    read_photograph,
    read_photograph_mask,
)
from nf_plugins.data.processing.undistortion import (
    has_distortion,
    pinhole_lens,
    require_undistortable,
    undistort,
    undistort_mask,
)
from nf_plugins.data.silhouette_hull import Silhouette, make_silhouette
from nf_plugins.data.writers.idr_writer import IdrView, write_idr_views
from nf_plugins.errors import InputError
from nf_plugins.progress import progress_bar

LEAST_VIEWS = 2
NAMES_SHOWN = 3
LARGE_BORDER_SHARE = 0.5
"""An object fills less than this part of an image's border."""
LARGE_DISAGREEMENT = 0.5
"""A mask that leaves out more than this part of the hull is named."""


@dataclass(frozen=True)
class PhotographedView:
    """A photograph with what belongs to it."""

    name: str
    photograph: Path
    mask: Path
    lens: tj.Lens
    """Of the photograph, pixels from the corner of the first one."""
    camera_to_world: NDArray[np.float64]
    """(3, 4), OpenCV axes, the cameras' units."""

    def read_mask(self) -> NDArray[np.bool_]:
        """Where the object is (H, W), without distortion."""
        mask = undistort_mask(read_photograph_mask(self.mask, self.mask == self.photograph), self.lens)
        if not mask.any():
            raise InputError(
                f"Nothing of the mask {self.mask} is left without lens distortion, expected the object in the picture: "
                "check the lens of its camera, or leave the photograph out."
            )
        return mask

    def silhouette(self) -> Silhouette:
        """What the masks' vote needs of the view."""
        rotation, centre = self.camera_to_world[:, :3].T, self.camera_to_world[:, 3]
        return make_silhouette(str(self.mask), intrinsics_of(self.lens), rotation, centre, self.read_mask())


def process_masked_views(options: MaskedViewsOptions) -> str:
    """Writes the capture; returns the ns-train command for it.

    Every mask is read twice: once for the sphere that the scene is normalised by, once to be written.

    Raises:
        InputError: Something is missing, damaged or does not fit. Nothing has been written then.
    """
    check_output_folder(options.output_dir, options.overwrite)
    _check_options(options)
    calibration = read_photograph_cameras(options.cameras)
    photographs = list_images(options.images, "the photographs")
    cameras, files, left_out = match_photographs(calibration.cameras, photographs, str(options.cameras))
    views = _views(cameras, files, find_masks(photographs, files, options.masks), options.downscale)
    silhouettes = threaded_map(PhotographedView.silhouette, views, "Reading masks")
    _warn_of_masks(silhouettes)
    sphere = _sphere(options, silhouettes, calibration.points)
    _say_sphere(sphere, silhouettes)
    record: dict[str, Any] = {
        "command": "masked-views",
        "options": asdict(options),
        "calibration": calibration.source,
        "world_from_scene": sphere.world_from_scene().tolist(),
        "sphere_from": sphere.source,
        "views": [view.name for view in views],
        "left_out": left_out,
    }
    with new_capture_folder(options.output_dir, options.overwrite, record) as staging, progress_bar() as progress:
        task = progress.add_task("Writing images", total=len(views))

        def written() -> Iterator[IdrView]:
            for view in views:
                yield _idr_view(view, sphere, options.downscale)
                progress.advance(task)

        write_idr_views(staging, written(), sphere.world_from_scene())
    return shlex.join(["ns-train", "idr", "--data", str(options.output_dir)])


def match_photographs(
    cameras: list[KnownCamera], photographs: ImageFolder, where: str
) -> tuple[list[KnownCamera], list[Path], list[str]]:
    """Cameras and photographs that belong together, sorted by name, and the photographs without a camera.

    Args:
        cameras: Called by their images.
        where: What error messages call the place of the cameras.

    Raises:
        InputError: Fewer than two belong together, or two cameras have the same photograph.
    """
    pairs: dict[Path, KnownCamera] = {}
    without_photograph = []
    for camera in sorted(cameras, key=lambda camera: validation.natural_key(camera.name)):
        file = photographs.find(camera.name)
        if file is None:
            without_photograph.append(camera.name)
        elif file in pairs:
            raise InputError(
                f"The cameras {pairs[file].name} and {camera.name} of {where} both belong to {file} by their names, "
                "expected a photograph each: lay the photographs out in folders as the cameras' file has them."
            )
        else:
            pairs[file] = camera
    left_out = [name for name, file in photographs.files.items() if file not in pairs]
    if len(pairs) < LEAST_VIEWS:
        raise InputError(
            f"{len(pairs)} of the {len(cameras)} cameras of {where} have a photograph in {photographs.root}, expected "
            f"at least {LEAST_VIEWS} called like the cameras' images ({_some([camera.name for camera in cameras])}); "
            f"there are {_some(list(photographs.files))}: give the folder that the cameras were reconstructed from."
        )
    if left_out:
        CONSOLE.print(
            f"[yellow]{len(left_out)} of {len(photographs.files)} photographs have no registered camera and are left "
            f"out: {_some(left_out)}.",
            soft_wrap=True,
        )
    if without_photograph:
        CONSOLE.print(
            f"[yellow]{len(without_photograph)} of {len(cameras)} cameras have no photograph in {photographs.root} and "
            f"are left out: {_some(without_photograph)}.",
            soft_wrap=True,
        )
    return list(pairs.values()), list(pairs), left_out


def intrinsics_of(lens: tj.Lens) -> NDArray[np.float64]:
    """(3, 3), the centre of the first pixel at (0.5, 0.5)."""
    return np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1.0]])


def _check_options(options: MaskedViewsOptions) -> None:
    if options.downscale < 1:
        raise InputError(f"--downscale is {options.downscale}, expected at least 1.")
    if not 0.5 < options.mask_agreement <= 1:
        raise InputError(f"--mask-agreement is {options.mask_agreement:g}, expected more than 0.5 and at most 1.")
    if not (math.isfinite(options.sphere_margin) and options.sphere_margin >= 0):
        raise InputError(f"--sphere-margin is {options.sphere_margin:g}, expected at least 0.")
    if options.sphere is not None and not (np.isfinite(options.sphere).all() and options.sphere[3] > 0):
        raise InputError(f"--sphere is {options.sphere}, expected x y z and a positive radius.")


def _views(cameras: list[KnownCamera], files: list[Path], masks: list[Path], factor: int) -> list[PhotographedView]:
    headers = validation.read_image_headers(files, "Checking images")
    if masks != files:
        validation.require_same_sizes(masks, validation.read_image_headers(masks, "Checking masks"), files, headers)
    views = []
    for camera, file, mask, lens in zip(cameras, files, masks, lenses_at(cameras, files, headers), strict=True):
        if min(lens.width, lens.height) < factor:
            raise InputError(
                f"--downscale {factor} leaves nothing of {lens.width}x{lens.height} pixels, expected less."
            )
        require_undistortable(lens, camera.name)
        pose = flip_camera_axes(camera.camera_to_world)
        views.append(PhotographedView(camera.name, file, mask, lens, pose))
    if any(has_distortion(view.lens) for view in views):
        CONSOLE.print("Lens distortion is taken out of images and masks.", soft_wrap=True)
    return views


def _sphere(
    options: MaskedViewsOptions, silhouettes: list[Silhouette], points: NDArray[np.float64] | None
) -> NormalisingSphere:
    if options.sphere is None:
        return normalising_sphere(silhouettes, points, agreement=options.mask_agreement, margin=options.sphere_margin)
    sphere = NormalisingSphere(np.array(options.sphere[:3]), options.sphere[3], "given")
    require_cameras_outside(sphere, silhouettes)
    return sphere


def _warn_of_masks(silhouettes: list[Silhouette]) -> None:
    """Says what is allowed but spoils a reconstruction."""
    white = [silhouette.name for silhouette in silhouettes if silhouette.says_nothing]
    if white:
        CONSOLE.print(
            f"[bold yellow]Warning:[/bold yellow] {len(white)} of {len(silhouettes)} masks are white everywhere "
            f"({_some(white)}): there every ray counts as one that meets the object, the silhouette says nothing, and "
            "the shape inflates. Segment the object first; or, where the object stands before a plain background, "
            "train hashmod-neus with --pipeline.model.loss-coefficients.mask 0.",
            soft_wrap=True,
        )
    around = [view.name for view in silhouettes if view.border_share > LARGE_BORDER_SHARE and not view.says_nothing]
    if around:
        CONSOLE.print(
            f"[bold yellow]Warning:[/bold yellow] {len(around)} of {len(silhouettes)} masks are white along most of "
            f"the image's border ({_some(around)}), as inverted masks are: the object must be white.",
            soft_wrap=True,
        )


def _say_sphere(sphere: NormalisingSphere, silhouettes: list[Silhouette]) -> None:
    words = {
        "masks": "the masks' visual hull",
        "cameras": "what the cameras see whole (the masks say nothing); give --sphere if it does not hold the object",
        "given": "--sphere",
    }
    centre = " ".join(f"{value:.4g}" for value in sphere.centre)
    CONSOLE.print(
        f"Normalising sphere from {words[sphere.source]}: centre {centre}, radius {sphere.radius:.4g} in the cameras' "
        "units.",
        soft_wrap=True,
        highlight=False,
    )
    if sphere.disagreement is None:
        return
    for index in np.flatnonzero(sphere.disagreement > LARGE_DISAGREEMENT):
        CONSOLE.print(
            f"[bold yellow]Warning:[/bold yellow] The mask {silhouettes[index].name} leaves out "
            f"{100 * sphere.disagreement[index]:.0f} % of what the other masks agree on: it is inverted or of another "
            "object, or its camera is wrong. Mend it or leave that photograph out.",
            soft_wrap=True,
        )


def _idr_view(view: PhotographedView, sphere: NormalisingSphere, factor: int) -> IdrView:
    image = undistort(read_photograph(view.photograph), view.lens)
    pose = view.camera_to_world.copy()
    pose[:, 3] = (pose[:, 3] - sphere.centre) / sphere.radius
    return IdrView(
        rgb=reduce_image(image, factor),
        mask=reduce_mask(view.read_mask(), factor),
        intrinsics=intrinsics_of(pinhole_lens(view.lens).reduced(factor)),
        camera_to_world=pose,
    )


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
