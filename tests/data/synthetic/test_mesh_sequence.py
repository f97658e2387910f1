from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from nf_plugins.data.synthetic.coloured_mesh import transform_points
from nf_plugins.data.synthetic.mesh_sequence import MeshSequence, list_mesh_files, load_mesh, position_texture
from nf_plugins.errors import InputError

HORSE = Path(__file__).parents[4] / "shared/data/meshes/horse-gallop"


def _write_balls(folder: Path, suffix: str, count: int = 4) -> list[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    ball = trimesh.creation.icosphere(subdivisions=1)
    moved = [np.array(ball.vertices) * [1.0, 2.0, 1.0] * 30 + [200.0 + 10 * i, 5.0, -3.0] for i in range(count)]
    for i, vertices in enumerate(moved):
        trimesh.Trimesh(vertices, ball.faces, process=False).export(folder / f"{i:03d}{suffix}")
    return moved


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".off"])
def test_sequence_fits_the_sphere_and_maps_back_to_the_files_units(tmp_path, suffix):
    moved = _write_balls(tmp_path, suffix)
    sequence = MeshSequence(list_mesh_files(tmp_path))
    farthest = 0.0
    for frame, vertices in enumerate(moved):
        mesh = sequence.mesh_at(frame)
        np.testing.assert_allclose(transform_points(sequence.world_from_scene, mesh.vertices), vertices, atol=1e-4)
        farthest = max(farthest, np.linalg.norm(mesh.vertices, axis=-1).max())
    assert farthest == pytest.approx(0.92, abs=1e-6)
    scale = sequence.world_from_scene[:3, :3]
    np.testing.assert_allclose(scale, scale[0, 0] * np.eye(3))


def test_texture_sticks_to_the_vertices_with_constant_topology(tmp_path):
    _write_balls(tmp_path, ".ply")
    sequence = MeshSequence(list_mesh_files(tmp_path))
    assert sequence.texture_sticks
    np.testing.assert_array_equal(sequence.mesh_at(0).colors, sequence.mesh_at(3).colors)
    assert sequence.mesh_at(0).colors.std(axis=0).min() > 0.1


def test_changing_topology_textures_the_space_instead(tmp_path):
    _write_balls(tmp_path, ".ply", count=2)
    trimesh.creation.box(extents=[60.0, 60.0, 60.0]).export(tmp_path / "010.ply")
    sequence = MeshSequence(list_mesh_files(tmp_path))
    assert not sequence.texture_sticks
    last = sequence.mesh_at(2)
    np.testing.assert_allclose(last.colors, position_texture(last.vertices))


def test_stride_limit_and_order(tmp_path):
    _write_balls(tmp_path, ".off", count=7)
    (tmp_path / "notes.txt").write_text("not a mesh")
    assert [path.stem for path in list_mesh_files(tmp_path, stride=2)] == ["000", "002", "004", "006"]
    assert [path.stem for path in list_mesh_files(tmp_path, stride=3, max_frames=2)] == ["000", "003"]


def test_up_axis_is_kept_in_scene_axes(tmp_path):
    _write_balls(tmp_path, ".ply")
    assert MeshSequence(list_mesh_files(tmp_path), "z").up.tolist() == [0.0, 0.0, 1.0]


def test_missing_or_single_frame_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        list_mesh_files(tmp_path / "nowhere")
    _write_balls(tmp_path, ".ply", count=1)
    with pytest.raises(InputError, match="at least two frames"):
        list_mesh_files(tmp_path)


def test_broken_files_are_named(tmp_path):
    broken = tmp_path / "000.ply"
    broken.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\n")
    with pytest.raises(InputError, match=r"000\.ply"):
        load_mesh(broken)
    infinite = tmp_path / "001.obj"
    infinite.write_text("v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"001\.obj"):
        load_mesh(infinite)


def test_texture_is_smooth_and_in_range():
    line = np.linspace([-0.9, -0.5, -0.4], [0.7, 0.6, 0.8], 1000)
    colors = position_texture(line)
    assert colors.min() >= 0.0 and colors.max() <= 1.0
    assert np.abs(np.diff(colors, axis=0)).max() < 0.06


@pytest.mark.skipif(not HORSE.is_dir(), reason=f"the horse sequence is not at {HORSE}")
def test_real_horse_gallops():
    sequence = MeshSequence(list_mesh_files(HORSE, stride=5))
    assert sequence.texture_sticks and sequence.num_frames == 10
    first, second = sequence.mesh_at(0), sequence.mesh_at(1)  # five files apart: about half a stride
    assert np.linalg.norm(first.vertices - second.vertices, axis=-1).max() > 0.2
