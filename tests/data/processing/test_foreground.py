from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_capture import BACKDROP, centre_at, photograph, ring_pose, write_video
from PIL import Image

from nf_plugins.data.processing.foreground import (
    MaskMaker,
    chroma_mask,
    clean_mask,
    plate_mask,
    reduce_mask,
)
from nf_plugins.data.processing.frame_sources import FrameSource, open_source
from nf_plugins.data.processing.options import MaskOptions
from nf_plugins.errors import InputError

POSE = ring_pose(0.7)
IMAGE, MASK, _ = photograph(POSE, centre_at(0.1))
CHOSEN = {"cam": [2, 7]}
"""Frames of the ten that are used."""


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return (mask & truth).sum() / (mask | truth).sum()


def ten_frames() -> dict[str, FrameSource]:
    return {"cam": FrameSource(Path("cam.mp4"), np.arange(10) / 10)}


def test_key_colour_in_shadow_is_still_background():
    np.testing.assert_array_equal(chroma_mask(IMAGE, BACKDROP, 40.0), MASK)
    # Half as bright, and with it half the chroma: within the tolerance.
    shadow = np.where(MASK[..., None], IMAGE, (IMAGE * 0.7).astype(np.uint8))
    np.testing.assert_array_equal(chroma_mask(shadow, BACKDROP, 40.0), MASK)
    assert chroma_mask(np.full((2, 2, 3), 128, np.uint8), BACKDROP, 10.0).all()


def test_difference_to_the_empty_set():
    plate = np.broadcast_to(np.array(BACKDROP, np.uint8), IMAGE.shape)
    np.testing.assert_array_equal(plate_mask(IMAGE, plate, 25.0), MASK)
    assert not plate_mask(np.clip(plate.astype(int) + 20, 0, 255).astype(np.uint8), plate, 25.0).any()


def test_cleaning_removes_specks_and_holes_and_keeps_the_border():
    mask = np.zeros((30, 40), dtype=bool)
    mask[8:30, 10:32] = True  # reaches the lower border
    noisy = mask.copy()
    noisy[2, 3], noisy[15, 20] = True, False
    cleaned = clean_mask(noisy, 2)
    assert not cleaned[2, 3] and cleaned[15, 20] and cleaned[29, 20]
    assert overlap(cleaned, mask) > 0.97
    np.testing.assert_array_equal(clean_mask(noisy, 0), noisy)


def test_reduction_keeps_pixels_that_are_mostly_foreground():
    mask = np.zeros((5, 6), dtype=bool)
    mask[:2, 0], mask[0:2, 2:4], mask[4] = True, True, True
    np.testing.assert_array_equal(reduce_mask(mask, 2), [[False, True, False], [False, False, False]])


@pytest.mark.parametrize(
    "options", [MaskOptions(chroma_key=BACKDROP), MaskOptions(chroma_key=BACKDROP, mask_cleanup=0)]
)
def test_masks_by_key_colour(options: MaskOptions):
    maker = MaskMaker(options, ten_frames(), CHOSEN, 30.0)
    assert maker
    mask = maker.masks_of("cam", [3])(IMAGE)
    assert mask is not None and overlap(mask, MASK) > 0.9


def test_no_options_no_masks():
    maker = MaskMaker(MaskOptions(), ten_frames(), CHOSEN, 30.0)
    assert not maker
    assert maker.masks_of("cam", [3])(IMAGE) is None


def test_masks_of_plates(tmp_path: Path):
    Image.fromarray(np.broadcast_to(np.array(BACKDROP, np.uint8), IMAGE.shape).copy()).save(tmp_path / "cam.png")
    maker = MaskMaker(MaskOptions(background_plates=tmp_path), ten_frames(), CHOSEN, 30.0)
    mask = maker.masks_of("cam", [0])(IMAGE)
    assert maker and mask is not None and overlap(mask, MASK) > 0.9
    with pytest.raises(InputError, match="plate of cam is 40x32 pixels, but its images are 10x10"):
        maker.masks_of("cam", [0])(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(InputError, match="has 0 images called other"):
        MaskMaker(MaskOptions(background_plates=tmp_path), {"other": ten_frames()["cam"]}, {}, 30.0)


def write_masks(folder: Path, number: int) -> list[np.ndarray]:
    folder.mkdir(parents=True)
    masks = [photograph(POSE, centre_at(0.03 * frame))[1] for frame in range(number)]
    for frame, mask in enumerate(masks):
        Image.fromarray(255 * mask.astype(np.uint8)).save(folder / f"{frame:03d}.png")
    return masks


def test_given_masks_go_by_the_frames_number_or_by_the_chosen_ones(tmp_path: Path):
    masks = write_masks(tmp_path / "all" / "cam", 10)
    given = MaskMaker(MaskOptions(masks=tmp_path / "all"), ten_frames(), CHOSEN, 30.0).masks_of("cam", [2, 7])
    np.testing.assert_array_equal(given(IMAGE), masks[2])
    np.testing.assert_array_equal(given(IMAGE), masks[7])
    masks = write_masks(tmp_path / "chosen" / "cam", 2)
    given = MaskMaker(MaskOptions(masks=tmp_path / "chosen"), ten_frames(), CHOSEN, 30.0).masks_of("cam", [2, 7])
    np.testing.assert_array_equal(given(IMAGE), masks[0])
    later = MaskMaker(MaskOptions(masks=tmp_path / "chosen"), ten_frames(), CHOSEN, 30.0).masks_of("cam", [7])
    np.testing.assert_array_equal(later(IMAGE), masks[1])
    with pytest.raises(InputError, match="masks/?.* are 40x32 pixels, but the images of cam 5x5"):
        given(np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(InputError, match="holds 2 masks, but cam has 10 frames, of which 3 are used"):
        MaskMaker(MaskOptions(masks=tmp_path / "chosen"), ten_frames(), {"cam": [1, 2, 3]}, 30.0)


def test_videos_of_masks_are_thresholded(tmp_path: Path):
    masks = [photograph(POSE, centre_at(0.03 * frame))[1] for frame in range(4)]
    write_video(tmp_path / "masks" / "cam.mp4", [np.repeat(255 * m[..., None].astype(np.uint8), 3, -1) for m in masks])
    sources = {"cam": open_source(write_video(tmp_path / "cam.mp4", [IMAGE] * 4), 30.0)}
    given = MaskMaker(MaskOptions(masks=tmp_path / "masks"), sources, {"cam": [1, 3]}, 30.0).masks_of("cam", [1, 3])
    assert overlap(given(IMAGE), masks[1]) > 0.97  # type: ignore[arg-type]
    assert overlap(given(IMAGE), masks[3]) > 0.97  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (MaskOptions(chroma_key=(0, 0, 0), masks=Path("m")), "--masks and --chroma-key are all given"),
        (MaskOptions(chroma_key=(0, 300, 0)), "--chroma-key is"),
        (MaskOptions(chroma_tolerance=-1.0), "--chroma-tolerance is -1"),
        (MaskOptions(mask_cleanup=-2), "--mask-cleanup is -2"),
        (MaskOptions(masks=Path("nowhere")), "nowhere does not exist"),
    ],
)
def test_bad_options(options: MaskOptions, says: str):
    with pytest.raises(InputError, match=says):
        MaskMaker(options, ten_frames(), CHOSEN, 30.0)


def test_a_camera_without_masks_is_said(tmp_path: Path):
    write_masks(tmp_path / "other", 2)
    with pytest.raises(InputError, match="has no masks of camera cam"):
        MaskMaker(MaskOptions(masks=tmp_path), ten_frames(), CHOSEN, 30.0)


@pytest.mark.parametrize("brightest", [1, 40, 255])
def test_masks_in_images_are_told_by_half_of_their_brightest_value(tmp_path: Path, brightest: int):
    folder = tmp_path / "cam"
    folder.mkdir()
    # A first frame without the subject, as dark as what a video's compression leaves; then one with a soft border.
    Image.fromarray(np.full(MASK.shape, brightest // 50, np.uint8)).save(folder / "0.png")
    values = brightest * MASK.astype(np.uint8)
    values[0, :5] = int(0.4 * brightest)
    Image.fromarray(values).save(folder / "1.png")
    sources = {"cam": FrameSource(Path("cam.mp4"), np.arange(2) / 10)}
    given = MaskMaker(MaskOptions(masks=tmp_path), sources, {"cam": [0, 1]}, 30.0).masks_of("cam", [0, 1])
    assert not given(IMAGE).any()  # type: ignore[union-attr]
    np.testing.assert_array_equal(given(IMAGE), MASK)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_camera_whose_masks_are_all_empty_stops(tmp_path: Path, suffix: str):
    (tmp_path / "cam").mkdir()
    for frame in range(10):
        dark = np.full((32, 40), 0 if suffix == "png" else 20, np.uint8)
        Image.fromarray(dark).save(tmp_path / "cam" / f"{frame}.{suffix}")
    with pytest.raises(InputError, match="masks .*cam of the 2 frames that are used are all empty"):
        MaskMaker(MaskOptions(masks=tmp_path), ten_frames(), {"cam": [2, 7]}, 30.0)
