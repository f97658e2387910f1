from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nf_plugins.data.optical_flow_files import OpticalFlow, read_flow
from nf_plugins.data.poses_bounds import read_poses_bounds
from nf_plugins.data.writers.nsff_writer import NsffFrame, NsffView, write_nsff_scene


def frames(count: int, held_out: int = 1) -> list[NsffFrame]:
    rng = np.random.default_rng(0)

    def view() -> NsffView:
        return NsffView(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8), rng.random((4, 6)) > 0.5)

    def flow() -> OpticalFlow:
        return OpticalFlow(rng.normal(size=(4, 6, 2)).astype(np.float32), rng.random((4, 6)) > 0.5)

    return [
        NsffFrame(
            view=view(),
            camera_to_world=np.eye(4),
            depth=1 + rng.random((4, 6)),
            forward=flow() if index + 1 < count else None,
            backward=flow() if index else None,
            bounds=(1.0, 2.0 + index),
            held_out=[view() for _ in range(held_out)],
        )
        for index in range(count)
    ]


def test_the_files_are_those_of_the_layout(tmp_path: Path) -> None:
    written = frames(3)
    write_nsff_scene(
        tmp_path / "scene", written, focal=7.0, held_out_poses=np.eye(4)[None], request={"a": 1}, facts={"b": 2}
    )
    names = {path.relative_to(tmp_path / "scene").as_posix() for path in (tmp_path / "scene").rglob("*.*")}
    assert names == {
        *(f"images_6x4/{frame:05d}.png" for frame in range(3)),
        *(f"motion_masks/{frame:05d}.png" for frame in range(3)),
        *(f"disp/{frame:05d}.npy" for frame in range(3)),
        *(f"mv_{kind}/{frame:05d}/cam01.png" for frame in range(3) for kind in ("images", "masks")),
        *("flow_i1/00000_fwd.npz", "flow_i1/00001_fwd.npz", "flow_i1/00001_bwd.npz", "flow_i1/00002_bwd.npz"),
        *("poses_bounds.npy", "mv_poses_bounds.npy", "scene.json", "synth.json"),
    }
    cameras = read_poses_bounds(tmp_path / "scene" / "poses_bounds.npy")
    assert (cameras.height, cameras.width, cameras.focal) == (4, 6, 7)
    assert cameras.bounds.tolist() == [[1, 2], [1, 3], [1, 4]]
    assert read_poses_bounds(tmp_path / "scene" / "mv_poses_bounds.npy").bounds.tolist() == [[1, 4]]
    np.testing.assert_allclose(np.load(tmp_path / "scene/disp/00001.npy"), 1 / written[1].depth, rtol=1e-6)
    backward = read_flow(tmp_path / "scene/flow_i1/00001_bwd.npz")
    assert written[1].backward is not None and np.array_equal(backward.valid, written[1].backward.valid)


def test_a_scene_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing():  # noqa: ANN202
        yield frames(1)[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_nsff_scene(tmp_path / "scene", failing(), focal=7.0, held_out_poses=np.eye(4)[None], request={})
    assert list(tmp_path.iterdir()) == []


def test_without_held_out_cameras_there_are_no_files_of_theirs(tmp_path: Path) -> None:
    write_nsff_scene(tmp_path / "scene", frames(3, 0), focal=7.0, held_out_poses=np.zeros((0, 4, 4)), request={})
    assert not list((tmp_path / "scene").glob("mv_*"))
