"""Flow of recorded frames becomes flow of what the common pinhole makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.monocular_files import FlowFiles
from nf_plugins.data.optical_flow_files import OpticalFlow, read_flow, write_flo, write_flow
from nf_plugins.data.processing.frame_flow import (
    bring_flow,
    check_flow_files,
    confirmed_flow,
    given_flow,
    same_shape,
)
from nf_plugins.data.transforms_json import Lens
from nf_plugins.errors import InputError

TARGET = Lens(96, 72, 90.0, 90.0, 48.0, 36.0)


def everywhere(flow: np.ndarray) -> OpticalFlow:
    return OpticalFlow(flow.astype(np.float32), np.ones(flow.shape[:2], dtype=bool))


def centres(height: int, width: int) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([columns, rows], axis=-1)


def test_vectors_scale_along_each_axis():
    # 40x31 instead of 40x30: rounded.
    place = centres(31, 40)
    flow = np.stack([0.1 * place[..., 0] + 1, -0.2 * place[..., 1]], axis=-1)
    brought = bring_flow(everywhere(flow), TARGET, TARGET, TARGET, (36, 48))
    new = centres(36, 48)
    expected = np.stack([0.1 * new[..., 0] + 1.2, -0.2 * new[..., 1]], axis=-1)
    np.testing.assert_allclose(brought.flow[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-4)
    assert brought.valid.all() and brought.flow.dtype == np.float32
    same = bring_flow(everywhere(flow), TARGET, TARGET, TARGET, (31, 40)).flow
    np.testing.assert_allclose(same, flow, atol=1e-5)


def test_what_is_not_known_does_not_spread():
    flow = np.ones((36, 48, 2))
    valid = np.ones((36, 48), dtype=bool)
    flow[10:14, 20:30], valid[10:14, 20:30] = 500, False
    brought = bring_flow(OpticalFlow(flow.astype(np.float32), valid), TARGET, TARGET, TARGET, (72, 96))
    np.testing.assert_allclose(brought.flow[brought.valid], 2, atol=1e-4)
    assert not brought.valid[20:28, 40:60].any() and (~brought.valid).sum() <= 10 * 22


def test_both_ends_go_through_their_lenses():
    """A shift in the pinhole's images, seen by OpenCV's lenses, is that shift again."""
    import cv2

    first = Lens(96, 72, 85.0, 86.0, 50.0, 35.0, (0.08, -0.02, 0.0, 0.0, 0.002, -0.001))
    second = Lens(96, 72, 88.0, 88.0, 47.0, 36.5, (0.05, 0.0, 0.0, 0.0, 0.0, 0.0))
    shift = np.array([3.0, -2.0])

    def parts(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
        k1, k2, k3, _, p1, p2 = lens.distortion
        return np.array([[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]]), np.array([k1, k2, p1, p2, k3])

    pixels = centres(72, 96).reshape(-1, 1, 2)
    slopes = cv2.undistortPoints(pixels, *parts(first))[:, 0]
    moved = slopes + shift / 90
    rays = np.concatenate([moved, np.ones_like(moved[:, :1])], axis=-1)
    end = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), *parts(second))[0][:, 0]
    flow = (end - pixels[:, 0]).reshape(72, 96, 2)
    brought = bring_flow(everywhere(flow), first, second, TARGET, (36, 48))
    inner = brought.flow[4:-4, 4:-4]
    assert brought.valid.all() and np.ptp(flow[..., 0]) > 2
    np.testing.assert_allclose(inner, np.broadcast_to(shift / 2, inner.shape), atol=0.01)


def test_flow_is_confirmed_by_the_way_back():
    there, back = everywhere(np.full((8, 12, 2), (3.0, 0.0))), everywhere(np.full((8, 12, 2), (-3.0, 0.0)))
    back.flow[:, 6] = (4.0, 0.0)
    back.valid[2, 8] = False
    there.valid[5, 0] = False
    valid = confirmed_flow(there, back).valid
    expected = np.ones((8, 12), dtype=bool)
    expected[:, 3] = expected[:, 9:] = False  # contradicted; led out of the image
    expected[2, 5] = expected[5, 0] = False  # the masks of both files
    np.testing.assert_array_equal(valid[:, [0, 1, 3, 5, 6, 9, 10, 11]], expected[:, [0, 1, 3, 5, 6, 9, 10, 11]])
    np.testing.assert_array_equal(confirmed_flow(there, back).flow, there.flow)


def test_files_are_read_for_a_frame_and_the_next(tmp_path: Path):
    values = np.arange(2 * 4 * 6, dtype=float).reshape(2, 4, 6) / 100
    for number in range(3):
        flow = np.stack([np.full((4, 6), 0.1 * number), np.zeros((4, 6))], axis=-1)
        write_flow(tmp_path / f"{number}_fwd.npz", flow, np.ones((4, 6)))
        write_flow(tmp_path / f"{number}_bwd.npz", -flow - 0.01, values[0] > 0.02)
    files = FlowFiles(
        [tmp_path / "0_fwd.npz", tmp_path / "1_fwd.npz", None], [None, tmp_path / "1_bwd.npz", tmp_path / "2_bwd.npz"]
    )
    lens = Lens(6, 4, 5.0, 5.0, 3.0, 2.0)
    there, back = given_flow(files, [lens] * 3, lens, (4, 6))(1)
    np.testing.assert_allclose(there.flow[..., 0], 0.1, atol=1e-6)
    np.testing.assert_allclose(back.flow[..., 0], -0.21, atol=1e-6)
    np.testing.assert_array_equal(back.valid, values[0] > 0.02)


@pytest.mark.parametrize(
    ("size", "frames", "expected"),
    [
        ((288, 512), (1080, 1920), True),
        ((218, 512), (436, 1024), True),
        ((55, 128), (436, 1024), True),  # 54.5
        ((1080, 1920), (288, 511), True),
        ((440, 1024), (436, 1024), False),  # padded to a multiple of 8
        ((512, 288), (1080, 1920), False),
        ((384, 512), (1080, 1920), False),
    ],
)
def test_shapes_agree_to_a_pixel(size: tuple[int, int], frames: tuple[int, int], expected: bool):
    assert same_shape(size, frames) is expected


def test_files_are_checked(tmp_path: Path):
    write_flo(tmp_path / "good.flo", np.zeros((36, 48, 2)))
    write_flo(tmp_path / "tall.flo", np.zeros((40, 48, 2)))
    (tmp_path / "cut.flo").write_bytes((tmp_path / "good.flo").read_bytes()[:-8])

    def check(name: str) -> None:
        check_flow_files(FlowFiles([tmp_path / "good.flo", None], [None, tmp_path / name]), (72, 96))

    check("good.flo")
    with pytest.raises(
        InputError, match=r"tall.flo holds the flow of 48x40 pixels, but the frames are 96x72, expected"
    ):
        check("tall.flo")
    with pytest.raises(InputError, match="cut.flo is .* bytes long"):
        check("cut.flo")


def known_answers(shared_data: Path, name: str) -> Path:
    folder = shared_data / "flow" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def test_hidden_pixels_of_a_known_pair_are_confirmed_less_often(shared_data: Path):
    """Flow both ways of a rendered pair and what is hidden in the other image; enlarged, as it moves by 0.2 pixels."""
    folder = known_answers(shared_data, "mmflow_tests_data")
    lens = Lens(50, 50, 50.0, 50.0, 25.0, 25.0)
    there, back = (
        bring_flow(read_flow(folder / f"0000000-flow_{name}.flo"), lens, lens, lens, (500, 500))
        for name in ("01", "10")
    )
    for one, other, name in ((there, back, "01"), (back, there, "10")):
        with Image.open(folder / f"0000000-occ_{name}.png") as image:
            hidden = np.asarray(image.convert("L").resize((500, 500), Image.Resampling.NEAREST)) > 0
        valid = confirmed_flow(one, other).valid
        assert valid[~hidden].mean() > 0.9 and valid[hidden].mean() < 0.75


def test_known_flow_of_another_size_warps_one_image_onto_the_other(shared_data: Path):
    from nf_plugins.data.flow_consistency import pixel_grid, sample_grid

    folder = known_answers(shared_data, "sintel_pair_half")
    given = read_flow(folder / "frame_0001.flo")
    height, width = (side // 2 for side in given.valid.shape)
    lens = Lens(2 * width, 2 * height, 500.0, 500.0, float(width), float(height))
    flow = bring_flow(given, lens, lens, lens, (height, width)).flow
    first, second = (
        np.asarray(Image.open(folder / f"frame_000{number}.png").convert("L").resize((width, height)), np.float32)
        for number in (1, 2)
    )

    def error(scale: float) -> float:
        warped = sample_grid(second[..., None], pixel_grid(height, width) + scale * flow, "bilinear")[..., 0]
        return float(np.abs(warped - first)[8:-8, 8:-8].mean())

    assert error(1) < 0.7 * min(error(0), error(2))
