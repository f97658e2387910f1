"""Points of a step: how many, where, at which distance, and the same ones after a restart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from nf_plugins.data.mesh_frames import Mesh
from nf_plugins.data.mesh_point_sampler import (
    MeshPointSampler,
    MeshPointSamplerConfig,
    SurfaceSampler,
    points_per_frame,
)
from nf_plugins.data.signed_distance import MeshSignedDistance
from nf_plugins.errors import InputError


def ball(radius: float, subdivisions: int = 3) -> Mesh:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32), f"ball of {radius}")


# Frames of different topology, as ReSynth has them.
BALLS = [ball(0.3), ball(0.5, subdivisions=2), ball(0.7)]


def sampler(seed: int = 0, sign: str = "closed", meshes: list[Mesh] = BALLS, **options: object) -> MeshPointSampler:
    values = {"points_per_step": 250, "pool_size": 256, "refresh_size": 64, "refresh_interval": 2, **options}
    return MeshPointSampler(MeshPointSamplerConfig(**values), meshes, sign, seed)  # type: ignore[arg-type]


def test_every_frame_gets_a_multiple_of_eight_in_the_published_shares() -> None:
    assert points_per_frame(250_000, 100) == 2496
    assert points_per_frame(250, 3) == 80
    points, distance = sampler().sample(0)
    assert points.shape == (3, 80, 3) and distance.shape == (3, 80, 1) and points.dtype == torch.float32
    assert (distance[:, :40] == 0).all() and (distance[:, 40:] != 0).all()
    spread = distance[:, 40:70].abs()
    assert spread.max() < 0.06 and 0.003 < spread.mean() < 0.02
    assert points[:, 70:].abs().max() <= 1 and points[:, 70:].abs().max(1).values.min() > 0.5


def test_distances_are_those_of_the_library_and_surface_samples_have_none() -> None:
    points, distance = sampler(points_per_step=2400).sample(3)
    for frame, mesh in enumerate(BALLS):
        truth = MeshSignedDistance(mesh.vertices, mesh.faces)(points[frame].numpy())
        np.testing.assert_allclose(distance[frame, :, 0].numpy(), truth, atol=1e-6)
    assert distance[:, 400:].min() < -0.1 and distance[:, 400:].max() > 0.1


def test_surface_points_are_uniform_by_area() -> None:
    # A square of area 3 and one of area 1; the other frame has more faces.
    vertices = np.array([[0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0], [5, 0, 0], [6, 0, 0], [6, 1, 0], [5, 1, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], dtype=np.int32)
    meshes = [Mesh(vertices.astype(np.float32), faces, "squares"), BALLS[0]]
    points = SurfaceSampler(meshes, torch.device("cpu")).sample(20_000, torch.Generator().manual_seed(0))
    in_large = points[0, :, 0] < 4
    assert float(in_large.float().mean()) == pytest.approx(0.75, abs=0.02)
    assert float(points[0, in_large, 0].mean()) == pytest.approx(1.5, abs=0.05)
    assert float(points[0, :, 1].std()) == pytest.approx(12**-0.5, abs=0.01)
    assert float((points[1].norm(dim=-1) - 0.3).abs().max()) < 0.01


def test_a_step_is_the_same_whatever_came_before_and_other_seeds_and_steps_differ() -> None:
    through, jumped = sampler(), sampler()
    seen = [through.sample(step) for step in range(23)]
    jumped.prepare()
    for step in (22, 5, 17):  # a restart, and the pools of an earlier step
        again = jumped.sample(step)
        assert torch.equal(again[0], seen[step][0]) and torch.equal(again[1], seen[step][1])
    assert not torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(sampler(seed=1).sample(0)[0], seen[0][0])


def test_pools_grow_to_their_size_and_are_renewed() -> None:
    source = sampler(points_per_step=48_000)

    def distinct(step: int) -> list[int]:
        return [len(frame.unique(dim=0)) for frame in source.sample(step)[0][:, 8000:14_000]]

    assert distinct(0) == [48, 48, 48]  # three quarters of refresh_size
    assert distinct(2) == [96, 48, 48] and distinct(6) == [96, 96, 96]
    assert distinct(100) == [192, 192, 192]  # of pool_size
    first = source.sample(100)[0][0, 8000:14_000].unique(dim=0)
    later = source.sample(160)[0][0, 8000:14_000].unique(dim=0)
    assert not set(map(tuple, first.tolist())) & set(map(tuple, later.tolist()))
    fixed = sampler(points_per_step=48_000, refresh_interval=0)
    assert len(fixed.sample(1000)[0][0, 8000:14_000].unique(dim=0)) == 48


def test_distances_can_be_clipped() -> None:
    points, clipped = sampler(clip_sdf=0.02).sample(0)
    same_points, distance = sampler().sample(0)
    assert torch.equal(points, same_points)
    assert torch.equal(clipped, distance.clamp(-0.02, 0.02)) and clipped.abs().max() == pytest.approx(0.02)


def test_open_meshes_are_refused_before_the_first_step_unless_winding() -> None:
    opened = BALLS[0]._replace(faces=BALLS[0].faces[1:], name="frame 7")
    with pytest.raises(InputError, match=r"frame 7 is not watertight \(3 open edges\).*--sign winding"):
        sampler(meshes=[*BALLS, opened]).prepare()
    sampler(meshes=[*BALLS, opened], sign="winding").prepare()


def test_numbers_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="points-per-step is 23 for 3 training frames, expected at least 24"):
        sampler(points_per_step=23)
    with pytest.raises(InputError, match="pool-size 32, refresh-size 64"):
        sampler(pool_size=32)
    with pytest.raises(InputError, match="clip-sdf 0"):
        sampler(clip_sdf=0)
    flat = Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32), "point.off")
    with pytest.raises(InputError, match=r"point\.off has no area"):
        sampler(meshes=[flat, BALLS[0]])
