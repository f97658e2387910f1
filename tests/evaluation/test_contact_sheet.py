"""The contact sheet's layout and what it is made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_pipeline import BallPipeline
from PIL import Image

from nf_plugins.evaluation.contact_sheet import (
    GAP,
    LABEL_HEIGHT,
    SheetRow,
    choose_images,
    contact_sheet,
    enlarge,
    pipeline_contact_sheet,
)
from nf_plugins.exporters.image_files import write_image


def test_images_lie_in_their_cells_and_labels_above() -> None:
    red, blue = (np.full((20, 60, 3), color, dtype=np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    sheet = contact_sheet([SheetRow("t = 0", [red, blue]), SheetRow("t = 1", [blue, red])], ["one", "two"])
    assert sheet.shape == (LABEL_HEIGHT + 2 * (LABEL_HEIGHT + 20), 120 + GAP, 3) and sheet.dtype == np.uint8
    first, second = 2 * LABEL_HEIGHT, 3 * LABEL_HEIGHT + 20
    assert np.array_equal(sheet[first : first + 20, :60], red)
    assert np.array_equal(sheet[first : first + 20, 60 + GAP :], blue)
    assert np.array_equal(sheet[second : second + 20, :60], blue)
    for top, left in ((0, 0), (0, 60 + GAP), (LABEL_HEIGHT, 0), (second - LABEL_HEIGHT, 0)):
        assert sheet[top : top + LABEL_HEIGHT, left : left + 60].min() < 100
    assert sheet[LABEL_HEIGHT : 2 * LABEL_HEIGHT, 60 + GAP :].min() == 255


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    image = np.arange(24 * 10 * 3, dtype=np.uint8).reshape(24, 10, 3)
    assert enlarge(image, 60).shape == (72, 30, 3)
    assert np.array_equal(enlarge(image, 60)[::3, ::3], image)
    assert enlarge(image, 24) is not None and enlarge(image, 24).shape == image.shape


def test_a_sheet_of_a_pipeline_shows_truth_and_rendering_over_time(tmp_path: Path) -> None:
    pipeline = BallPipeline(offset=0.0)
    sheet = pipeline_contact_sheet(pipeline, "test", num_rows=3, smallest_height=24)
    assert sheet.shape == (LABEL_HEIGHT + 3 * (LABEL_HEIGHT + 24), 4 * 24 + 3 * GAP, 3)
    rows = [sheet[2 * LABEL_HEIGHT + row * (LABEL_HEIGHT + 24) :][:24] for row in range(3)]
    for row in rows:
        assert np.array_equal(row[:, :24], row[:, 24 + GAP : 48 + GAP])
    assert not np.array_equal(rows[0][:, :24], rows[2][:, :24])
    write_image(tmp_path / "sheet.png", sheet)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sheet.png")), sheet)


def test_outputs_that_a_model_lacks_are_left_out() -> None:
    sheet = pipeline_contact_sheet(BallPipeline(), outputs=("rgb", "flow"), num_rows=1, smallest_height=24)
    assert sheet.shape[1] == 2 * 24 + GAP


@pytest.mark.parametrize(
    ("frames", "num_rows", "expected"), [(None, 2, [0, 3]), (None, 9, [0, 1, 2, 3]), ([2, 0], 1, [2, 0]), ([7], 1, [0])]
)
def test_rows_are_of_one_camera_and_the_asked_frames(frames, num_rows, expected) -> None:
    identities = [
        {"image_index": index, "camera_id": index // 4, "time": (index % 4) / 3, "frame_id": index % 4}
        for index in range(8)
    ]
    assert choose_images(identities, frames, num_rows) == expected
