"""Whether the subject is in its box: a wrong box trains to nothing, hours later."""

from __future__ import annotations

import torch
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data.source_views import SourceViews
from nf_plugins.errors import InputError
from nf_plugins.model_components.box_collider import intersect_box

MAX_IMAGES = 16
MAX_PIXELS = 2000
REFUSED_BELOW = 0.5
WARNED_BELOW = 0.98


def share_in_box(views: SourceViews, scene: int = 0) -> float | None:
    """Share of a scene's foreground whose rays cross the box of their frame, by a sample of its images and pixels; None
    where there is no foreground."""
    first, count = views.first_ids[scene], views.num_images_of_scene[scene]
    chosen = torch.linspace(0, count - 1, min(count, MAX_IMAGES)).long()
    crossing = []
    for local in chosen.tolist():
        foreground = (views.image(first + local)[1] > 127).nonzero()
        if not len(foreground):
            continue
        at_most = min(len(foreground), MAX_PIXELS // len(chosen))
        pixels = foreground[torch.linspace(0, len(foreground) - 1, at_most).long()]
        cameras = views.datasets[scene].cameras
        indices = torch.full((len(pixels), 1), local, device=cameras.device)
        rays = cameras.generate_rays(camera_indices=indices, coords=pixels.to(cameras.device) + 0.5)
        near, far = intersect_box(rays.origins.cpu(), rays.directions.cpu(), views.box_of(first + local))
        crossing.append((far > near)[:, 0].float())
    return float(torch.cat(crossing).mean()) if crossing else None


def require_subject_in_box(views: SourceViews) -> None:
    """Each scene's subject is in its boxes; says so where a part is not. Nothing can be said without masks.

    Raises:
        InputError: Half of a subject is outside.
    """
    for scene, dataset in enumerate(views.datasets):
        share = share_in_box(views, scene) if dataset.fg_mask_filenames is not None else None
        if share is None or share >= WARNED_BELOW:
            continue
        where = dataset.image_filenames[0].parent
        found = (
            f"of the foreground pixels of the scene at {where} only {share:.0%} lie on rays through the box of their "
            "frame"
        )
        remedy = "give the box with the dataparser's --scene-box or --scene-box-from, and look whether the masks and "
        if share < REFUSED_BELOW:
            raise InputError(f"The box excludes the subject: {found}, expected nearly all: {remedy}poses are right.")
        CONSOLE.print(
            f"[bold yellow]Warning: the box cuts the subject off: {found}; {remedy}poses are right.",
        )
