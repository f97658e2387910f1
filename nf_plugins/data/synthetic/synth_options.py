"""What can be asked of nf-synth, and what cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nf_plugins.errors import InputError

OPTIONS_OF_LATER_RELEASES = (
    "resample_frames",
    "camera_sway",
    "depth_convention",
    "rgbd",
    "depth_noise",
    "edge_dropout",
    "grazing_angle",
    "subject",
    "still_frame",
    "num_views",
    "num_held_out_cameras",
    "camera_travel",
    "texture",
)
"""Options that a scene of an earlier release did not have: at their defaults they are left out of the request, so that
such a scene is still recognised."""


@dataclass(frozen=True)
class SynthOptions:
    """Write a scene with known truth: images, masks, depth, cameras and the true mesh of every frame."""

    output_dir: Path = Path("data/demo")
    """Folder of the scene; must be new or empty, or hold the very same scene (then nothing is done)."""
    layout: Literal["owlii", "dnerf", "zju", "dtu", "nsff"] = "owlii"
    """On-disk layout: owlii = several synchronised cameras, dnerf = one jumping camera with RGBA images, zju = several
    synchronised standing cameras in ZJU-MoCap's files, dtu = views of a subject that stands still in IDR's files, nsff
    = a monocular video in NSFF's files, of a subject in a room, with exact depth and optical flow."""
    mesh_sequence: Path | None = None
    """Folder with one .obj, .ply or .off file per frame, taken in order of name; without it the built-in dancer, or
    with --layout nsff a ball that travels and spins."""
    texture: Literal["smooth", "fine"] = "smooth"
    """Pattern on a mesh sequence: smooth = colours of the vertices, fine = stripes, squares and dots of a few pixels,
    drawn between the vertices too."""
    up_axis: Literal["x", "y", "z"] = "y"
    """Axis of the mesh sequence that points up; the built-in dancer stands along z."""
    num_frames: int = 20
    """Number of time steps (fewer when the mesh sequence is shorter)."""
    frame_stride: int = 1
    """Take every n-th file of the mesh sequence."""
    resample_frames: bool = False
    """Sample the motion of the mesh sequence anew, at exactly --num-frames even times (faces must not change)."""
    num_train_cameras: int = 6
    """Owlii and ZJU layouts: number of training cameras on a ring around the subject."""
    camera_sway: float = 0.0
    """Owlii layout: degrees by which the training cameras swing around their places, as if held in hands."""
    subject: Literal["dancer", "ellipsoid"] = "dancer"
    """DTU layout without a mesh sequence: the built-in dancer, or an ellipsoid whose surface is known in closed
    form."""
    still_frame: int = 0
    """DTU layout: the time step at which the subject stands still."""
    num_views: int = 16
    """DTU layout: number of views, from all sides but below."""
    num_eval_views: int = 12
    """D-NeRF layout: number of images in each of the val and test splits."""
    num_held_out_cameras: int = 3
    """NSFF layout: number of standing cameras that no training image comes from, in mv_images/ at all times."""
    camera_travel: float = 1.2
    """NSFF layout: how far the camera moves sideways during the video; the subject fits the unit sphere."""
    resolution: int = 128
    """Width and height of the images, pixels; NSFF layout: the height, of which the width is 4/3."""
    supersampling: int = 2
    """Colours (and the alpha of the dnerf layout) are the mean of n x n rays per pixel."""
    field_of_view: float = 35.0
    """Opening angle of the cameras, degrees."""
    camera_distance: float = 3.4
    """Distance of the cameras from the centre; the subject fits the unit sphere."""
    shading: bool = True
    """Light the surface by one lamp that is fixed in the scene; off = the bare texture."""
    depth_convention: Literal["ray", "z"] = "ray"
    """Owlii layout: depth images hold the distance along the pixel's ray, or the camera's z coordinate."""
    rgbd: bool = False
    """Owlii layout: the training cameras, named cam_0 ..., measure depth as a noisy sensor does; the true depth goes
    to depth_true/."""
    depth_noise: float = 0.0015
    """With --rgbd: standard deviation of the depth at a distance of one metre (world unit), metres; it grows with the
    square of the distance."""
    edge_dropout: float = 0.5
    """With --rgbd: probability that a pixel at a silhouette or a step in depth has no depth."""
    grazing_angle: float = 60.0
    """With --rgbd: degrees between view and normal from which depth begins to get lost; at 90 all is lost."""
    num_cloud_points: int = 10000
    """Owlii layout: number of points per frame on the true surface in cloud/."""
    seed: int = 0
    """Turns the camera rig, and draws the jumping cameras, the cloud points, the sway and the depth noise."""
    overwrite: bool = False
    """Replace a scene that was written to the output folder with other options."""


LIMITS = {
    "num_frames": (2, 10_000, "a moving scene needs at least two"),
    "frame_stride": (1, 10_000, "1 takes every file"),
    "num_train_cameras": (1, 1000, "4 to 10 are usual"),
    "camera_sway": (0.0, 45.0, "5 to 20 degrees are usual"),
    "still_frame": (0, 10_000, "0 is the first"),
    "num_views": (2, 10_000, "12 to 64 are usual"),
    "num_eval_views": (1, 10_000, "10 to 20 are usual"),
    "num_held_out_cameras": (0, 99, "3 to 12 are usual"),
    "camera_travel": (0.01, 4.0, "a third of --camera-distance is usual"),
    "resolution": (8, 8192, "100 to 800 are usual"),
    "supersampling": (1, 16, "2 is usual"),
    "field_of_view": (1.0, 150.0, "30 to 60 degrees are usual"),
    "camera_distance": (1.05, 1000.0, "the cameras must stay outside the unit sphere of the subject"),
    "depth_noise": (0.0, 0.1, "0.001 to 0.003 are usual"),
    "edge_dropout": (0.0, 1.0, "a probability"),
    "grazing_angle": (0.0, 90.0, "degrees; 90 loses nothing"),
    "num_cloud_points": (1, 10_000_000, "10000 to 100000 are usual"),
    "seed": (0, 2**32 - 1, "any whole number"),
}
"""Least and greatest value of each number, and a hint."""


def check_options(options: SynthOptions) -> None:
    """Raise InputError where an option is out of range, or applies to something that was not asked for."""
    for name, (low, high, hint) in LIMITS.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise InputError(f"{_flag(name)} {value}: expected a value from {low} to {high} ({hint}).")
    if options.mesh_sequence is None:
        way_out = "and none is given; use --num-frames for the built-in scene."
        _require_default(
            options, ("frame_stride", "resample_frames", "texture"), f"applies to files of a --mesh-sequence, {way_out}"
        )
    if options.layout != "owlii":
        _require_default(
            options, ("camera_sway", "depth_convention", "rgbd"), f"applies to --layout owlii, not to {options.layout}."
        )
    _check_still_subject(options)
    _check_monocular(options)
    if not options.rgbd:
        _require_default(options, ("depth_noise", "edge_dropout", "grazing_angle"), "applies to --rgbd; add it.")


def _check_still_subject(options: SynthOptions) -> None:
    if options.layout != "dtu":
        why = f"applies to --layout dtu, not to {options.layout}."
        _require_default(options, ("subject", "still_frame", "num_views"), why)
        return
    _require_default(options, ("resample_frames",), "does nothing with --layout dtu, whose subject stands still.")
    if options.mesh_sequence is not None:
        _require_default(options, ("subject",), "does nothing with a --mesh-sequence; leave one of them out.")
    elif options.subject == "ellipsoid":
        _require_default(options, ("still_frame",), "does nothing with --subject ellipsoid, which never moves.")
    elif options.still_frame >= options.num_frames:
        raise InputError(
            f"--still-frame {options.still_frame}: the dance has --num-frames {options.num_frames}; expected at most "
            f"{options.num_frames - 1}."
        )


def _check_monocular(options: SynthOptions) -> None:
    if options.layout != "nsff":
        why = f"applies to --layout nsff, not to {options.layout}."
        _require_default(options, ("num_held_out_cameras", "camera_travel"), why)
        return
    _require_default(options, ("texture",), "cannot be drawn with --layout nsff, which joins subject and room.")
    if options.num_frames < 3:
        raise InputError(
            f"--num-frames {options.num_frames}: NSFF's flow needs a frame with two neighbours, at least 3."
        )


def _require_default(options: SynthOptions, names: tuple[str, ...], why: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value != getattr(SynthOptions, name):
            shown = _flag(name) if value is True else f"{_flag(name)} {value}"
            raise InputError(f"{shown}: {why}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
