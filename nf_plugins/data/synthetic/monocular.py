"""A monocular video with known truth: a subject moves before a static room while one camera moves sideways.

Subject and room are one mesh whose vertices are moved from frame to frame and whose faces stay, so that a pixel's
point at other times, and with it depth and flow, are those of the same place of the same triangle. Everything lies in
front of all cameras, which look along -z: the scene holds in normalised device coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data.optical_flow_files import OpticalFlow
from nf_plugins.data.synthetic.cameras import Intrinsics, look_at
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, MovingMesh, shade
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster, pixel_rays
from nf_plugins.data.synthetic.synth_options import SynthOptions
from nf_plugins.data.synthetic.travelling_ball import UP, room
from nf_plugins.data.writers.nsff_writer import NsffFrame, NsffView
from nf_plugins.errors import InputError

ASPECT = 4 / 3
"""Width of the images per height."""
VISIBILITY_TOLERANCE = 1e-3
"""A moved point is seen when nothing lies before it by more than this part of its distance."""
BOUND_PERCENTILES = (5, 95)


@dataclass(frozen=True)
class _Moment:
    """One time, ready to be photographed."""

    mesh: ColouredMesh
    caster: MeshRayCaster
    camera_to_world: NDArray[np.float64]


@dataclass(frozen=True)
class _SeenPlaces:
    """Where on the mesh the rays through the pixels' centres end."""

    faces: NDArray[np.int64]
    """(H * W,)."""
    barycentric: NDArray[np.float64]
    """(H * W, 3)."""
    distance: NDArray[np.float64]
    """(H * W,) along the unit ray."""

    def points(self, mesh: ColouredMesh) -> NDArray[np.float64]:
        """(H * W, 3): the same places at another time."""
        return (mesh.vertices[mesh.faces[self.faces]] * self.barycentric[..., None]).sum(axis=1)


def nsff_intrinsics(options: SynthOptions) -> Intrinsics:
    """The one calibration of all cameras: column u of the images sees the direction (u - W/2) / f."""
    height = options.resolution
    width = round(ASPECT * height)
    focal = 0.5 * height / np.tan(0.5 * np.deg2rad(options.field_of_view))
    return Intrinsics(width, height, focal, focal, 0.5 * width + 0.5, 0.5 * height + 0.5)


def video_cameras(options: SynthOptions, num_frames: int) -> NDArray[np.float64]:
    """Poses (T, 4, 4), OpenGL, of the camera that films: along a gentle arc, looking at the subject's surroundings."""
    times = np.linspace(0.0, 1.0, num_frames)
    x = options.camera_travel * (times - 0.5)
    y = 0.1 * options.camera_travel * np.sin(2 * np.pi * times)
    z = options.camera_distance + 0.05 * options.camera_travel * np.cos(2 * np.pi * times)
    return _looking_ahead(np.stack([x, y, z], axis=-1))


def held_out_cameras(options: SynthOptions) -> NDArray[np.float64]:
    """Poses (C, 4, 4), OpenGL, of standing cameras around the middle of the path and beside it."""
    angles = 2 * np.pi * (np.arange(options.num_held_out_cameras) + 0.25) / max(options.num_held_out_cameras, 1)
    x, y = 0.35 * options.camera_travel * np.cos(angles), 0.25 * options.camera_travel * np.sin(angles)
    return _looking_ahead(np.stack([x, y, np.full_like(x, options.camera_distance)], axis=-1))


def nsff_frames(options: SynthOptions, source: MovingMesh, track: Any) -> Iterator[NsffFrame]:
    """Every time of the video with its truth, and what the held-out cameras see then.

    Args:
        track: Wraps the range of frames, for a progress bar.

    Raises:
        InputError: The faces of the subject change.
    """
    intrinsics, num_frames = nsff_intrinsics(options), source.num_frames
    poses, held_out = video_cameras(options, num_frames), held_out_cameras(options)
    background = room(options.camera_distance)
    background = shade(background, UP) if options.shading else background
    first_faces = source.mesh_at(0).faces

    def moment(frame: int) -> _Moment | None:
        if not 0 <= frame < num_frames:
            return None
        subject = source.mesh_at(frame)
        if not np.array_equal(subject.faces, first_faces):
            raise InputError(
                f"The faces of frame {frame} of the subject are not those of the first frame, expected the same: a "
                "pixel's motion is that of a place on a triangle. Give a --mesh-sequence of one topology."
            )
        mesh = _together(_upright(shade(subject, source.up) if options.shading else subject, source.up), background)
        return _Moment(mesh, MeshRayCaster(mesh), poses[frame])

    before, now = None, moment(0)
    for frame in track(range(num_frames)):
        after = moment(frame + 1)
        assert now is not None
        places = _seen_places(now.caster, intrinsics, poses[frame])
        points = places.points(now.mesh)
        depth = (poses[frame][:3, 3] - points) @ poses[frame][:3, 2]
        near, far = np.percentile(depth, BOUND_PERCENTILES)
        num_moving = len(first_faces)
        yield NsffFrame(
            view=_view(now.caster, intrinsics, poses[frame], num_moving, options.supersampling),
            camera_to_world=poses[frame],
            depth=depth.reshape(intrinsics.height, intrinsics.width),
            forward=None if after is None else _flow(places, after, intrinsics),
            backward=None if before is None else _flow(places, before, intrinsics),
            bounds=(float(near), float(far)),
            held_out=[_view(now.caster, intrinsics, pose, num_moving, options.supersampling) for pose in held_out],
        )
        before, now = now, after


def _view(
    caster: MeshRayCaster, intrinsics: Intrinsics, pose: NDArray[np.float64], num_moving: int, supersampling: int
) -> NsffView:
    rgb = caster.render(intrinsics, pose, supersampling).rgb
    moving = _seen_places(caster, intrinsics, pose).faces < num_moving
    return NsffView(rgb, moving.reshape(intrinsics.height, intrinsics.width))


def _seen_places(caster: MeshRayCaster, intrinsics: Intrinsics, pose: NDArray[np.float64]) -> _SeenPlaces:
    pixels = _pixel_centres(intrinsics)
    hits = caster.cast(*pixel_rays(intrinsics, pose, pixels))
    if len(hits.rays) != len(pixels):
        raise InputError(
            "A camera sees past the edge of the room, expected the room to fill its image: lower --camera-travel or "
            "--field-of-view."
        )
    return _SeenPlaces(hits.faces, hits.barycentric, hits.distance)


def _flow(places: _SeenPlaces, other: _Moment, intrinsics: Intrinsics) -> OpticalFlow:
    """Flow of the pixels to another time and its camera, valid where the moved points are seen there."""
    moved = places.points(other.mesh)
    pose = other.camera_to_world
    offsets = moved - pose[:3, 3]
    x, y, z = (offsets @ pose[:3, :3]).T
    targets = np.stack([intrinsics.cx - intrinsics.fx * x / z, intrinsics.cy + intrinsics.fy * y / z], axis=-1)
    size = np.array([intrinsics.width, intrinsics.height])
    inside = ((targets >= 0) & (targets <= size)).all(axis=-1)
    nearest = np.full(len(targets), np.inf)
    hits = other.caster.cast(*pixel_rays(intrinsics, pose, targets))
    nearest[hits.rays] = hits.distance
    distance = np.linalg.norm(offsets, axis=-1)
    seen = inside & (nearest > (1 - VISIBILITY_TOLERANCE) * distance)
    shape = intrinsics.height, intrinsics.width
    flow = (targets - _pixel_centres(intrinsics)).astype(np.float32)
    return OpticalFlow(flow.reshape(*shape, 2), seen.reshape(shape))


def _pixel_centres(intrinsics: Intrinsics) -> NDArray[np.float64]:
    rows, columns = np.divmod(np.arange(intrinsics.height * intrinsics.width), intrinsics.width)
    return np.stack([columns, rows], axis=-1) + 0.5


def _looking_ahead(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([look_at(place, np.array([0.35 * place[0], 0.2 * place[1], -0.5]), UP) for place in positions])


def _together(subject: ColouredMesh, background: ColouredMesh) -> ColouredMesh:
    """One mesh, the subject's faces first."""
    return ColouredMesh(
        np.concatenate([subject.vertices, background.vertices]),
        np.concatenate([subject.faces, background.faces + len(subject.vertices)]),
        np.concatenate([subject.colors, background.colors]),
    )


def _upright(mesh: ColouredMesh, up: NDArray[np.float64]) -> ColouredMesh:
    """The mesh turned by the smallest rotation that takes ``up`` to the room's."""
    axis, cosine = np.cross(up, UP), float(up @ UP)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + cross + cross @ cross / (1 + cosine)
    return ColouredMesh(mesh.vertices @ rotation.T, mesh.faces, mesh.colors)
