from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nf_plugins.data.optical_flow_files import flow_size, read_flow, write_flo, write_flow
from nf_plugins.errors import InputError


def a_flow() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)


def test_npz_comes_back_with_its_mask(tmp_path: Path) -> None:
    valid = np.arange(15).reshape(3, 5) % 2 == 0
    write_flow(tmp_path / "a.npz", a_flow(), valid)
    flow = read_flow(tmp_path / "a.npz")
    assert np.array_equal(flow.flow, a_flow()) and np.array_equal(flow.valid, valid)
    assert flow_size(tmp_path / "a.npz") == (3, 5)
    assert set(np.load(tmp_path / "a.npz").files) == {"flow", "mask"}


def test_flo_comes_back_and_what_is_unknown_is_not_valid(tmp_path: Path) -> None:
    values = a_flow()
    values[1, 2, 0] = 1e10
    values[0, 0, 1] = np.nan
    write_flo(tmp_path / "a.flo", values)
    flow = read_flow(tmp_path / "a.flo")
    assert flow_size(tmp_path / "a.flo") == (3, 5)
    assert not flow.valid[1, 2] and not flow.valid[0, 0] and flow.valid.sum() == 13
    assert np.array_equal(flow.flow[flow.valid], values[flow.valid]) and (flow.flow[~flow.valid] == 0).all()


def test_npz_without_a_mask_is_valid_everywhere(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", flow=a_flow().astype(np.float64))
    flow = read_flow(tmp_path / "a.npz")
    assert flow.valid.all() and flow.flow.dtype == np.float32


def write_kitti(path: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    import cv2

    numbers = np.round(flow * 64 + 2**15)
    rgb = np.dstack([numbers, valid]).astype(np.uint16)
    cv2.imwrite(str(path), rgb[..., ::-1])


def test_kittis_png_is_read_to_a_64th_of_a_pixel(tmp_path: Path) -> None:
    valid = np.arange(15).reshape(3, 5) % 4 != 0
    values = 100 * a_flow()
    write_kitti(tmp_path / "a.png", values, valid)
    flow = read_flow(tmp_path / "a.png")
    assert flow_size(tmp_path / "a.png") == (3, 5) and np.array_equal(flow.valid, valid)
    np.testing.assert_allclose(flow.flow, values, atol=0.5 / 64)


def test_npy_is_the_flow_alone(tmp_path: Path) -> None:
    values = a_flow().astype(np.float64)
    values[1, 2, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    flow = read_flow(tmp_path / "a.npy")
    assert flow_size(tmp_path / "a.npy") == (3, 5) and flow.flow.dtype == np.float32
    assert not flow.valid[1, 2] and flow.valid.sum() == 14
    np.testing.assert_allclose(flow.flow[flow.valid], values[flow.valid], rtol=1e-6)


def test_text_is_no_flow(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", a_flow().astype(str))
    with pytest.raises(InputError, match=r"a\.npy is of the type .*, expected real numbers"):
        read_flow(tmp_path / "a.npy")


def test_known_flow_warps_one_real_image_onto_the_other(shared_data: Path) -> None:
    folder = shared_data / "flow" / "sintel_pair_half"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    first, second = (np.asarray(Image.open(folder / f"frame_000{number}.png").convert("L"), float) for number in (1, 2))
    flow = read_flow(folder / "frame_0001.flo").flow
    rows, columns = np.indices(first.shape)
    x, y = np.round(columns + flow[..., 0]).astype(int), np.round(rows + flow[..., 1]).astype(int)
    inside = (x >= 0) & (x < first.shape[1]) & (y >= 0) & (y < first.shape[0])
    warped = np.abs(second[y[inside], x[inside]] - first[inside])
    assert np.median(warped) < 0.7 * np.median(np.abs(second - first)[inside])


def write_broken(path: Path, kind: str) -> Path:
    if kind == "cut.flo":
        write_flo(path / kind, a_flow())
        (path / kind).write_bytes((path / kind).read_bytes()[:-4])
    elif kind == "magic.flo":
        (path / kind).write_bytes(b"0" * 60)
    elif kind == "shape.npz":
        np.savez(path / kind, flow=np.zeros((3, 5)))
    elif kind == "names.npz":
        np.savez(path / kind, optical=a_flow())
    elif kind in ("text.npz", "text.npy"):
        (path / kind).write_text("no archive")
    elif kind == "planes.npy":
        np.save(path / kind, np.zeros((2, 3, 5)))
    elif kind == "picture.png":
        Image.fromarray(np.zeros((3, 5, 3), np.uint8)).save(path / kind)
    elif kind == "cut.png":
        write_kitti(path / kind, a_flow(), np.ones((3, 5)))
        (path / kind).write_bytes((path / kind).read_bytes()[:-20])
    return path / kind


@pytest.mark.parametrize(
    "kind",
    [
        "cut.flo", "magic.flo", "shape.npz", "names.npz", "text.npz", "absent.npz", "text.npy", "planes.npy",
        "absent.npy", "picture.png", "cut.png", "absent.png", "a.tif",
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path: Path, kind: str) -> None:
    path = write_broken(tmp_path, kind)
    for read in (read_flow, flow_size):
        with pytest.raises(InputError, match=kind.replace(".", r"\.")):
            read(path)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", flow=a_flow(), mask=np.ones((5, 3), bool))
    with pytest.raises(InputError, match=r"mask of .*a\.npz has the shape \(5, 3\)"):
        read_flow(tmp_path / "a.npz")
