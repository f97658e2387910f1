"""From a model's outputs to frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ball_pipeline import SIZE, BallPipeline, ball_cameras, ball_outputs
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.exporters.rendering import OutputPainter, jet_colors, render_to_file


def test_panels_stand_in_the_asked_order_and_keep_their_colors() -> None:
    outputs = ball_outputs(ball_cameras()[:1])
    frame = OutputPainter(["accumulation", "rgb", "normal"])(outputs)
    assert frame.shape == (SIZE, 3 * SIZE, 3) and frame.dtype == np.uint8
    assert set(np.unique(frame[:, :SIZE])) == {0, 255}
    assert np.array_equal(frame[:, SIZE : 2 * SIZE], (outputs["rgb"] * 255).round().to(torch.uint8).numpy())
    assert np.array_equal(frame[:, 2 * SIZE :], (outputs["normal_rgb"] * 255).round().to(torch.uint8).numpy())


def test_the_depth_range_of_the_first_frame_holds_for_all() -> None:
    outputs = ball_outputs(ball_cameras()[:1])
    painter = OutputPainter(["depth"])
    first = painter(outputs)
    near, far = painter.depth_range or (0.0, 0.0)
    inside = outputs["depth"][outputs["accumulation"] > 0.5]
    assert float(inside.min()) <= near < far <= float(inside.max())
    farther = painter({**outputs, "depth": outputs["depth"] * 1.1})
    assert painter.depth_range == (near, far)
    assert not np.array_equal(first, farther)
    assert OutputPainter(["depth"])({"depth": torch.zeros(4, 4, 1), "accumulation": torch.zeros(4, 4, 1)}).min() == 255


def test_jet_goes_from_blue_over_green_to_red_as_in_matplotlib() -> None:
    import matplotlib

    values = torch.linspace(0, 1, 101)[None, :, None]
    expected = matplotlib.colormaps["jet"](values[0, :, 0].numpy())[:, :3]
    assert np.abs(jet_colors(values)[0].numpy() - expected).mean() < 0.03
    ends = jet_colors(torch.tensor([-1.0, 0.0, 0.5, 1.0])[None, :, None])[0]
    assert ends.tolist() == [[0, 0, 0.5], [0, 0, 0.5], [0.5, 1, 0.5], [0.5, 0, 0]]
    outputs = ball_outputs(ball_cameras()[:1])
    frame = OutputPainter(["depth"], depth_colormap="jet")(outputs)
    assert frame[0, 0].tolist() == [255, 255, 255]  # nothing is there


def test_missing_outputs_are_named() -> None:
    with pytest.raises(InputError, match=r"no output flow; it has accumulation, depth, normal, normal_rgb, rgb"):
        OutputPainter(["rgb", "flow"])(ball_outputs(ball_cameras()[:1]))


def test_a_camera_that_comes_again_is_rendered_once(tmp_path: Path) -> None:
    pipeline, ticks = BallPipeline(), []
    cameras = ball_cameras(num_cameras=1)
    count = render_to_file(
        pipeline.eval(),
        cameras,
        tmp_path / "frames",
        OutputPainter(["rgb"]),
        10.0,
        order=[0, 1, 2, 1],
        on_frame=lambda: ticks.append(1),
    )
    frames = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "frames").iterdir())]
    assert count == len(ticks) == len(frames) == 4
    assert len(pipeline.model.was_in_training_mode) == 3
    assert np.array_equal(frames[1], frames[3]) and not np.array_equal(frames[0], frames[2])
