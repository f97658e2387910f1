"""The built-in scene: a dancing articulated figure whose texture sticks to its limbs.

World units are metres, z points up, the figure stands near the origin and faces -y when its yaw is zero. Scene units
follow by one fixed similarity that puts the whole dance inside a sphere of radius 0.95.

Each body part is a round cone or ellipsoid given by a signed distance in the frame of its joint. A smooth union of the
posed parts is turned into one watertight mesh per frame by marching cubes. The colour of a surface point is that of the
nearest parts' procedural textures at the point's coordinates in the joint frames, so that it moves with the limb.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, transform_points
from nf_plugins.data.synthetic.figure_textures import part_color

UNION_RADIUS = 0.035
"""Metres over which touching parts melt into each other."""
COLOR_BLEND = 0.006
"""Metres over which the textures of neighbouring parts cross-fade."""

WORLD_FROM_SCENE = np.array(
    [[1.36, 0.0, 0.0, 0.0], [0.0, 1.36, 0.0, 0.0], [0.0, 0.0, 1.36, 1.08], [0.0, 0.0, 0.0, 1.0]]
)
"""Scene coordinates to metres: one similarity for the whole dance."""


class Joint(NamedTuple):
    """A joint of the skeleton: its parent and its offset (metres) in the parent's frame."""

    name: str
    parent: str | None
    offset: tuple[float, float, float]


class Part(NamedTuple):
    """A round cone from ``start`` to ``end`` (metres, joint frame), thinned along the axes by ``squash``."""

    name: str
    joint: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    start_radius: float
    end_radius: float
    squash: tuple[float, float, float] = (1.0, 1.0, 1.0)


def _mirrored(side: str, sign: float) -> tuple[list[Joint], list[Part]]:
    joints = [
        Joint(f"shoulder_{side}", "chest", (sign * 0.245, 0.0, 0.32)),
        Joint(f"elbow_{side}", f"shoulder_{side}", (0.0, 0.0, -0.30)),
        Joint(f"wrist_{side}", f"elbow_{side}", (0.0, 0.0, -0.27)),
        Joint(f"hip_{side}", "pelvis", (sign * 0.135, 0.0, -0.06)),
        Joint(f"knee_{side}", f"hip_{side}", (0.0, 0.0, -0.42)),
        Joint(f"ankle_{side}", f"knee_{side}", (0.0, 0.0, -0.40)),
    ]
    parts = [
        Part(f"upper_arm_{side}", f"shoulder_{side}", (0.0, 0.0, 0.0), (0.0, 0.0, -0.28), 0.102, 0.080),
        Part(f"forearm_{side}", f"elbow_{side}", (0.0, 0.0, -0.01), (0.0, 0.0, -0.25), 0.082, 0.064),
        Part(f"hand_{side}", f"wrist_{side}", (0.0, 0.0, -0.04), (0.0, -0.01, -0.12), 0.090, 0.080, (0.8, 1.0, 1.0)),
        Part(f"thigh_{side}", f"hip_{side}", (0.0, 0.0, -0.02), (0.0, 0.0, -0.40), 0.140, 0.102),
        Part(f"shin_{side}", f"knee_{side}", (0.0, 0.0, -0.01), (0.0, 0.0, -0.38), 0.106, 0.074),
        Part(f"foot_{side}", f"ankle_{side}", (0.0, 0.02, -0.035), (0.0, -0.19, -0.05), 0.088, 0.080, (1.0, 1.0, 0.8)),
    ]
    return joints, parts


_LEFT_JOINTS, _LEFT_PARTS = _mirrored("left", 1.0)
_RIGHT_JOINTS, _RIGHT_PARTS = _mirrored("right", -1.0)

JOINTS = [
    Joint("pelvis", None, (0.0, 0.0, 0.0)),
    Joint("chest", "pelvis", (0.0, 0.0, 0.13)),
    Joint("neck", "chest", (0.0, 0.0, 0.40)),
    *_LEFT_JOINTS,
    *_RIGHT_JOINTS,
]
"""The skeleton, parents before children."""

PARTS = [
    Part("pelvis", "pelvis", (-0.05, 0.0, 0.0), (0.05, 0.0, 0.0), 0.165, 0.165, (1.0, 0.85, 0.9)),
    Part("chest", "chest", (0.0, 0.0, 0.03), (0.0, 0.0, 0.23), 0.175, 0.215, (1.0, 0.78, 1.0)),
    Part("neck", "neck", (0.0, 0.0, -0.03), (0.0, 0.0, 0.06), 0.075, 0.075),
    Part("head", "neck", (0.0, -0.005, 0.18), (0.0, -0.005, 0.22), 0.165, 0.172, (0.92, 0.97, 1.0)),
    Part("nose", "neck", (0.0, -0.165, 0.175), (0.0, -0.180, 0.170), 0.030, 0.028),
    Part("bun", "neck", (0.0, 0.150, 0.300), (0.0, 0.195, 0.335), 0.070, 0.078),
    *_LEFT_PARTS,
    *_RIGHT_PARTS,
]
"""The body."""


def _rotation(axis: int, degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def _wave(time: float, cycles: float, phase: float) -> float:
    return float(np.sin(2.0 * np.pi * (cycles * time + phase)))


def joint_rotations(time: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The dance: rotation (3, 3) of every joint relative to its parent, and the pelvis position (3,) in metres.

    Sines of incommensurable rates plus a steady turn: smooth, and no two times in [0, 1] share a pose.
    """
    x, y, z = 0, 1, 2
    arm_left = 82.0 + 68.0 * _wave(time, 1.35, -0.22)
    arm_right = 84.0 + 66.0 * _wave(time, 1.10, 0.12)
    swing = _wave(time, 1.25, 0.05)
    rotations = {
        "pelvis": _rotation(z, -40.0 + 105.0 * time) @ _rotation(y, 7.0 * _wave(time, 1.1, 0.3)),
        "chest": _rotation(z, 38.0 * _wave(time, 0.85, 0.08))
        @ _rotation(x, 10.0 * _wave(time, 1.3, 0.2) + 4.0)
        @ _rotation(y, 14.0 * _wave(time, 0.95, 0.55)),
        "neck": _rotation(z, -30.0 * _wave(time, 0.85, 0.0)) @ _rotation(y, 10.0 * _wave(time, 1.4, 0.1)),
        "shoulder_left": _rotation(y, -arm_left) @ _rotation(x, -30.0 * _wave(time, 0.9, 0.35)),
        "shoulder_right": _rotation(y, arm_right) @ _rotation(x, -30.0 * _wave(time, 1.0, 0.8)),
        "elbow_left": _rotation(x, -48.0 - 42.0 * _wave(time, 1.55, 0.1)),
        "elbow_right": _rotation(x, -45.0 - 40.0 * _wave(time, 1.30, 0.6)),
        "wrist_left": _rotation(x, 20.0 * _wave(time, 1.7, 0.0)),
        "wrist_right": _rotation(x, 20.0 * _wave(time, 1.6, 0.4)),
        "hip_left": _rotation(y, -16.0 - 12.0 * _wave(time, 1.35, -0.2)) @ _rotation(x, -12.0 - 45.0 * swing),
        "hip_right": _rotation(y, 16.0 + 12.0 * _wave(time, 1.2, 0.1)) @ _rotation(x, -12.0 + 45.0 * swing),
        "knee_left": _rotation(x, 42.0 + 38.0 * _wave(time, 1.25, 0.22)),
        "knee_right": _rotation(x, 42.0 - 38.0 * _wave(time, 1.25, 0.18)),
        "ankle_left": _rotation(x, -8.0 + 18.0 * _wave(time, 1.25, 0.4)),
        "ankle_right": _rotation(x, -8.0 - 18.0 * _wave(time, 1.25, 0.4)),
    }
    pelvis = np.array(
        [0.12 * _wave(time, 0.8, 0.0), 0.08 * _wave(time, 1.05, 0.3), 0.95 + 0.08 * _wave(time, 1.7, 0.55)]
    )
    return rotations, pelvis


def joint_to_worlds(time: float) -> dict[str, np.ndarray]:
    """Forward kinematics: (4, 4) matrices from every joint's frame to world metres at a time in [0, 1]."""
    rotations, pelvis = joint_rotations(time)
    transforms: dict[str, np.ndarray] = {}
    for joint in JOINTS:
        local = np.eye(4)
        local[:3, :3] = rotations.get(joint.name, np.eye(3))
        local[:3, 3] = joint.offset
        if joint.parent is None:
            local[:3, 3] += pelvis
            transforms[joint.name] = local
        else:
            transforms[joint.name] = transforms[joint.parent] @ local
    return transforms


def part_signed_distance(part: Part, local_points: np.ndarray) -> np.ndarray:
    """Signed distance bound (*batch,) of points (*batch, 3) in the part's joint frame, metres, negative inside."""
    squash = np.asarray(part.squash, dtype=local_points.dtype)
    start = np.asarray(part.start, dtype=local_points.dtype) / squash
    axis = np.asarray(part.end, dtype=local_points.dtype) / squash - start
    offset = local_points / squash - start
    along = np.clip(offset @ (axis / (axis @ axis)), 0.0, 1.0)
    radial = np.sqrt(((offset - along[..., None] * axis) ** 2).sum(-1))
    radius = part.start_radius + along * (part.end_radius - part.start_radius)
    return (radial - radius) * min(part.squash)


def _to_local(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    rotation = transform[:3, :3].astype(points.dtype)
    return (points - transform[:3, 3].astype(points.dtype)) @ rotation


def surface_colors(points: np.ndarray, transforms: dict[str, np.ndarray]) -> np.ndarray:
    """Texture (N, 3) in [0, 1] at world points (N, 3) near the surface, for the posed joints."""
    local_points = [_to_local(transforms[part.joint], points) for part in PARTS]
    distances = np.stack([part_signed_distance(part, p) for part, p in zip(PARTS, local_points, strict=True)])
    weights = np.exp((distances.min(axis=0) - distances) / COLOR_BLEND)
    weights = weights / weights.sum(axis=0)
    colors = np.zeros_like(points)
    for part, local, weight in zip(PARTS, local_points, weights, strict=True):
        near = np.flatnonzero(weight > 1e-3)
        colors[near] += weight[near, None] * part_color(part.name, local[near])
    return np.clip(colors, 0.0, 1.0)


def _sample_distance_grid(transforms: dict[str, np.ndarray], spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Smooth-union distances (X, Y, Z) and the grid's origin (3,), metres; each part touches only its own box."""
    margin = 2.0 * UNION_RADIUS + 2.0 * spacing
    boxes = []
    for part in PARTS:
        ends = transform_points(transforms[part.joint], np.array([part.start, part.end]))
        reach = max(part.start_radius, part.end_radius) + margin
        boxes.append((ends.min(axis=0) - reach, ends.max(axis=0) + reach))
    low = np.floor(np.min([box[0] for box in boxes], axis=0) / spacing).astype(int) - 1
    high = np.ceil(np.max([box[1] for box in boxes], axis=0) / spacing).astype(int) + 2
    grid = np.full(high - low, margin, dtype=np.float32)
    for part, (box_low, box_high) in zip(PARTS, boxes, strict=True):
        first = np.floor(box_low / spacing).astype(int) - low
        last = np.ceil(box_high / spacing).astype(int) - low + 1
        axes = [
            (spacing * (np.arange(a, b) + origin)).astype(np.float32)
            for a, b, origin in zip(first, last, low, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        distance = part_signed_distance(part, _to_local(transforms[part.joint], points))
        window = grid[first[0] : last[0], first[1] : last[1], first[2] : last[2]]
        # Quadratic smooth minimum: reaches no further than UNION_RADIUS, so boxes may be small.
        overlap = np.maximum(UNION_RADIUS - np.abs(window - distance), 0.0) / UNION_RADIUS
        window[...] = np.minimum(window, distance) - overlap**2 * (0.25 * UNION_RADIUS)
    return grid, low * spacing


def figure_mesh(time: float, spacing: float = 0.016) -> ColouredMesh:
    """The figure at a time in [0, 1] as one watertight mesh in world metres, unshaded colours.

    Args:
        spacing: edge of a marching-cubes cell, metres.
    """
    from skimage.measure import marching_cubes

    transforms = joint_to_worlds(time)
    grid, origin = _sample_distance_grid(transforms, spacing)
    # A grid value of exactly zero would make marching cubes emit triangles without area.
    grid[np.abs(grid) < 1e-6] = 1e-6
    # "descent" winds triangles so that a surface around negative values faces outwards.
    vertices, faces, _, _ = marching_cubes(grid, 0.0, gradient_direction="descent")
    points = vertices.astype(np.float64) * spacing + origin
    return ColouredMesh(points, faces.astype(np.int64), surface_colors(points, transforms))


class ArticulatedFigure:
    """The dance sampled at ``num_frames`` even times from 0 to 1: a :class:`coloured_mesh.MovingMesh`."""

    def __init__(self, num_frames: int, spacing: float = 0.016) -> None:
        self.times = np.linspace(0.0, 1.0, num_frames)
        self.num_frames = num_frames
        self.world_from_scene = WORLD_FROM_SCENE.copy()
        self.up = np.array([0.0, 0.0, 1.0])
        self._spacing = spacing

    def mesh_at(self, frame: int) -> ColouredMesh:
        """The figure of frame 0 ... T-1 in scene units."""
        mesh = figure_mesh(float(self.times[frame]), self._spacing)
        scene_from_world = np.linalg.inv(self.world_from_scene)
        return ColouredMesh(transform_points(scene_from_world, mesh.vertices), mesh.faces, mesh.colors)
