from __future__ import annotations

import numpy as np
import trimesh

from nf_plugins.data.synthetic.standing_ellipsoid import AXES, SEMI_AXES, StandingEllipsoid, implicit_value


def test_mesh_lies_on_the_ellipsoid():
    mesh = StandingEllipsoid().mesh_at(0)
    np.testing.assert_allclose(implicit_value(mesh.vertices), 0, atol=1e-12)
    # Between the vertices it sags, by the most at the middles of the faces.
    middles = implicit_value(mesh.vertices[mesh.faces].mean(axis=1))
    assert -3e-4 < middles.min() and middles.max() < 0
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight
    np.testing.assert_allclose(solid.volume, 4 / 3 * np.pi * SEMI_AXES.prod(), rtol=1e-3)
    assert ((mesh.colors >= 0) & (mesh.colors <= 1)).all() and mesh.colors.std(axis=0).min() > 0.1


def test_axes_are_a_rotation_and_the_ends_of_the_semi_axes_lie_on_the_surface():
    np.testing.assert_allclose(AXES.T @ AXES, np.eye(3), atol=1e-15)
    assert np.linalg.det(AXES) > 0
    np.testing.assert_allclose(implicit_value((AXES * SEMI_AXES).T), 0, atol=1e-12)
    assert implicit_value(np.zeros((1, 3)))[0] == -1
    assert SEMI_AXES.max() < 1
