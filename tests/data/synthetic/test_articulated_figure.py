from __future__ import annotations

import numpy as np
import pytest
import trimesh

from nf_plugins.data.synthetic.articulated_figure import (
    JOINTS,
    PARTS,
    ArticulatedFigure,
    figure_mesh,
    joint_to_worlds,
    part_signed_distance,
    surface_colors,
)
from nf_plugins.data.synthetic.coloured_mesh import transform_points


def _joint_positions(time: float) -> dict[str, np.ndarray]:
    return {name: matrix[:3, 3] for name, matrix in joint_to_worlds(time).items()}


def test_bones_keep_their_length_and_joints_are_rotations():
    for time in np.linspace(0.0, 1.0, 7):
        positions = _joint_positions(time)
        for joint in JOINTS:
            if joint.parent is not None:
                length = np.linalg.norm(positions[joint.name] - positions[joint.parent])
                assert length == pytest.approx(np.linalg.norm(joint.offset), abs=1e-12)
        for matrix in joint_to_worlds(time).values():
            np.testing.assert_allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-12)
            assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1.0)


def test_limbs_sweep_far_smoothly_and_no_pose_returns():
    times = np.linspace(0.0, 1.0, 49)
    tracks = np.stack([np.stack(list(_joint_positions(time).values())) for time in times])
    names = [joint.name for joint in JOINTS]
    for name, least in (("wrist_left", 0.7), ("wrist_right", 0.7), ("ankle_left", 0.4), ("ankle_right", 0.4)):
        track = tracks[:, names.index(name)]
        assert np.linalg.norm(track[:, None] - track[None], axis=-1).max() > least
    assert np.linalg.norm(np.diff(tracks, axis=0), axis=-1).max() < 0.25
    apart = np.linalg.norm(tracks[:, None] - tracks[None], axis=-1).mean(axis=-1)
    assert apart[~np.eye(len(times), dtype=bool)].min() > 5e-3


def test_distance_of_a_ball_is_exact():
    ball = next(part for part in PARTS if part.name == "neck")._replace(start=(0.0, 0.0, 0.0), end=(0.0, 0.0, 1e-9))
    points = np.random.default_rng(0).normal(size=(50, 3))
    expected = np.linalg.norm(points, axis=-1) - ball.start_radius
    np.testing.assert_allclose(part_signed_distance(ball, points), expected, atol=1e-7)


@pytest.mark.parametrize("time", [0.0, 0.37, 1.0])
def test_mesh_is_one_watertight_outward_surface_inside_the_unit_sphere(time):
    figure = ArticulatedFigure(2, spacing=0.03)
    figure.times = np.array([time, 1.0])
    mesh = figure.mesh_at(0)
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.volume > 0.01
    assert solid.body_count == 1
    radius = np.linalg.norm(mesh.vertices, axis=-1).max()
    assert 0.6 < radius < 0.95
    assert mesh.colors.min() >= 0.0 and mesh.colors.max() <= 1.0


def test_whole_dance_stays_inside_the_sphere():
    world_from_scene = ArticulatedFigure(2).world_from_scene
    for time in np.linspace(0.0, 1.0, 101):
        transforms = joint_to_worlds(time)
        for part in PARTS:
            ends = transform_points(transforms[part.joint], np.array([part.start, part.end]))
            scene = transform_points(np.linalg.inv(world_from_scene), ends)
            reach = max(part.start_radius, part.end_radius) / world_from_scene[0, 0]
            assert (np.linalg.norm(scene, axis=-1) + reach).max() < 0.95


def test_texture_sticks_to_the_limbs():
    # Points half-way along each limb, away from the joints, where only one part's texture is seen.
    checked = 0
    for part in PARTS:
        if not part.name.startswith(("upper_arm", "forearm", "thigh", "shin")):
            continue
        start, end = np.array(part.start), np.array(part.end)
        angles = np.linspace(0.0, 2.0 * np.pi, 9)[:-1]
        radius = 0.5 * (part.start_radius + part.end_radius)
        ring = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=-1) * radius
        local = 0.5 * (start + end) + ring
        colors = []
        for time in (0.1, 0.6):
            transforms = joint_to_worlds(time)
            world = transform_points(transforms[part.joint], local)
            alone = np.ones(len(world), dtype=bool)
            for other in PARTS:
                if other.name != part.name:
                    in_other = (world - transforms[other.joint][:3, 3]) @ transforms[other.joint][:3, :3]
                    alone &= part_signed_distance(other, in_other) > 0.05
            colors.append(np.where(alone[:, None], surface_colors(world, transforms), np.nan))
        both = ~np.isnan(colors[0] + colors[1]).any(axis=-1)
        np.testing.assert_allclose(colors[0][both], colors[1][both], atol=1e-3)
        checked += both.sum()
    assert checked > 30


def test_texture_has_contrast_and_many_colours():
    colors = figure_mesh(0.2, spacing=0.03).colors
    assert colors.std(axis=0).min() > 0.2
    assert len(np.unique(np.round(colors * 4), axis=0)) > 25


def test_frames_differ():
    figure = ArticulatedFigure(3, spacing=0.04)
    first, last = figure.mesh_at(0), figure.mesh_at(2)
    assert np.abs(first.vertices.max(axis=0) - last.vertices.max(axis=0)).max() > 0.02
