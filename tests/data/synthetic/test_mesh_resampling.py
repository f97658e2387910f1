from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from nf_plugins.data.synthetic.mesh_resampling import resample_meshes, resample_vertices
from nf_plugins.data.synthetic.mesh_sequence import MeshSequence, list_mesh_files
from nf_plugins.errors import InputError


def _cubic_motion(times: np.ndarray) -> np.ndarray:
    """Every coordinate of every vertex its own cubic: what the spline represents exactly."""
    coefficients = np.random.default_rng(1).normal(size=(4, 5, 3))
    return np.einsum("tp,pvc->tvc", times[:, None] ** np.arange(4), coefficients)


@pytest.mark.parametrize("num_frames", [2, 5, 13, 20])
def test_cubic_motion_is_exact_at_any_number_of_frames(num_frames):
    given = _cubic_motion(np.linspace(0.0, 1.0, 7))
    expected = _cubic_motion(np.linspace(0.0, 1.0, num_frames))
    np.testing.assert_allclose(resample_vertices(given, num_frames), expected, atol=1e-12)


def test_given_frames_come_back_bit_for_bit():
    given = np.random.default_rng(0).normal(size=(4, 6, 3))
    np.testing.assert_array_equal(resample_vertices(given, 4), given)
    np.testing.assert_array_equal(resample_vertices(given, 10)[::3], given)
    np.testing.assert_array_equal(resample_vertices(given, 2), given[[0, 3]])


def test_two_frames_move_on_straight_lines():
    given = np.random.default_rng(0).normal(size=(2, 6, 3))
    np.testing.assert_allclose(resample_vertices(given, 3)[1], given.mean(axis=0))


def test_error_falls_with_the_fourth_power_of_the_spacing():
    def error(count: int) -> float:
        motion = np.sin(5.0 * np.linspace(0.0, 1.0, count))[:, None, None]
        truth = np.sin(5.0 * np.linspace(0.0, 1.0, 100))[:, None, None]
        return float(np.abs(resample_vertices(motion, 100) - truth).max())

    assert error(11) / error(21) > 10


@pytest.mark.parametrize(
    ("vertices", "faces", "says"),
    [
        (4, [[0, 1, 3]], "b.ply has other faces"),
        (5, [[0, 1, 2]], "b.ply has 5 vertices and 1 faces, but a.ply 4 and 1"),
    ],
)
def test_changing_topology_is_refused(vertices, faces, says):
    first = np.zeros((4, 3)), np.array([[0, 1, 2]])
    with pytest.raises(InputError, match=says):
        resample_meshes([first, (np.zeros((vertices, 3)), np.array(faces))], ["a.ply", "b.ply"], 5)


def test_sequence_has_the_wanted_length_and_a_moving_texture(tmp_path: Path):
    ball = trimesh.creation.icosphere(subdivisions=1)
    for index in range(3):
        moved = ball.vertices + [0.5 * index, 0.0, 0.1 * index**2]
        trimesh.Trimesh(moved, ball.faces, process=False).export(tmp_path / f"{index}.ply")
    files = list_mesh_files(tmp_path)
    sequence, plain = MeshSequence(files, resampled_frames=7), MeshSequence(files)
    assert sequence.num_frames == 7 and sequence.texture_sticks
    # Every third new frame is one of the files.
    for frame in range(3):
        np.testing.assert_allclose(sequence.mesh_at(3 * frame).vertices, plain.mesh_at(frame).vertices, atol=1e-9)
    centres = np.stack([sequence.mesh_at(frame).vertices.mean(axis=0) for frame in range(7)])
    np.testing.assert_allclose(np.diff(centres[:, 0]), np.diff(centres[:, 0])[0])
    assert max(np.linalg.norm(sequence.mesh_at(frame).vertices, axis=1).max() for frame in range(7)) < 0.92 + 1e-9
