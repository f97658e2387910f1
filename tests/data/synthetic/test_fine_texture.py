"""A texture that is finer than the triangles it lies on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nf_plugins.data.synthetic.cameras import square_intrinsics
from nf_plugins.data.synthetic.coloured_mesh import ColouredMesh, SurfaceTexture, shade
from nf_plugins.data.synthetic.fine_texture import SHORTEST_PERIOD, fine_texture
from nf_plugins.data.synthetic.generate import generate_scene
from nf_plugins.data.synthetic.mesh_sequence import position_texture
from nf_plugins.data.synthetic.ray_caster import MeshRayCaster
from nf_plugins.data.synthetic.synth_options import SynthOptions
from nf_plugins.errors import InputError


def test_colours_are_valid_and_change_within_a_period() -> None:
    points = np.random.default_rng(0).uniform(-0.57, 0.57, (500, 3))
    colors = fine_texture(points)
    assert colors.min() >= 0 and colors.max() <= 1
    smooth = position_texture(points)
    assert (colors <= smooth + 1e-12).all()
    beside = fine_texture(points + np.array([0.5 * SHORTEST_PERIOD, 0, 0]))
    assert np.abs(beside - colors).mean() > 10 * np.abs(position_texture(points + [0.001, 0, 0]) - smooth).mean()


def square(texture: SurfaceTexture | None) -> ColouredMesh:
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    return ColouredMesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), np.full((4, 3), 0.6), texture)


def test_a_texture_is_evaluated_at_hits_and_shaded() -> None:
    def halves(points: np.ndarray) -> np.ndarray:
        return np.repeat((points[..., :1] > 0).astype(float), 3, axis=-1)

    pose = np.eye(4)
    pose[2, 3] = 3.0
    intrinsics = square_intrinsics(16, np.deg2rad(15.0))
    mesh = square(SurfaceTexture(square(None).vertices, halves))
    view = MeshRayCaster(mesh).render(intrinsics, pose, supersampling=1)
    assert view.mask[8].all() and (view.rgb[8, :8] == 0).all() and (view.rgb[8, 8:] == 255).all()
    lit = shade(mesh, np.array([0.0, 1.0, 0.0]))
    assert lit.brightness is not None
    shaded = MeshRayCaster(lit).render(intrinsics, pose, supersampling=1)
    assert (shaded.rgb[8, 8:] == np.round(255 * lit.brightness[0])).all()
    assert (MeshRayCaster(square(None)).render(intrinsics, pose, supersampling=1).rgb[8] == 153).all()


def test_only_mesh_sequences_have_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--texture fine: applies to files of a --mesh-sequence"):
        generate_scene(SynthOptions(output_dir=tmp_path / "scene", texture="fine"))
    with pytest.raises(InputError, match="--texture fine: cannot be drawn with --layout nsff"):
        generate_scene(SynthOptions(tmp_path / "scene", layout="nsff", texture="fine", mesh_sequence=tmp_path))
