"""The folder of a split: what lies where, and what an interrupted evaluation keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import yaml
from ball_pipeline import SIZE, BallDataset, BallPipeline, ball_cameras, ball_config
from PIL import Image

from nf_plugins.errors import InputError
from nf_plugins.evaluation.contact_sheet import GAP, LABEL_HEIGHT
from nf_plugins.evaluation.evaluate import evaluate_pipeline
from nf_plugins.evaluation.result_files import with_reference_names
from nf_plugins.evaluation.split_folder import FolderOptions, image_stems, write_grid_video

IMAGE_FOLDERS = ("rgb", "rgb_gt", "normal", "depth", "mask", "grid")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "step-000000005.ckpt"
    path.write_bytes(b"weights")
    return path


def evaluate(pipeline: BallPipeline, out: Path, checkpoint: Path | None, **options: Any) -> dict[str, Any]:
    split, mask = options.pop("split", "test"), options.pop("mask", "both")
    folders = FolderOptions(out, **options)
    return evaluate_pipeline(
        pipeline, ball_config(), 5, split, folders=folders, mask=mask, use_lpips=False, checkpoint=checkpoint
    )


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_one_camera_gives_flat_folders_named_by_frame(tmp_path: Path, checkpoint: Path) -> None:
    result = evaluate(BallPipeline(0.1), tmp_path / "out", checkpoint, fps=8.0)
    folder = tmp_path / "out" / "test"
    images = [f"{name}/{frame:06d}.png" for name in IMAGE_FOLDERS for frame in range(4)]
    assert names(folder) == sorted([*images, "grid.mp4", "results.json", "results.yaml"])
    true, rendered = pixels(folder / "rgb_gt" / "000002.png"), pixels(folder / "rgb" / "000002.png")
    assert true.shape == (SIZE, SIZE, 3)
    mask = pixels(folder / "mask" / "000002.png")
    assert mask.shape == (SIZE, SIZE) and set(np.unique(mask)) == {0, 255}
    difference = (rendered.astype(int) - true)[mask > 0]
    assert set(np.unique(difference)) == {25, 26}
    outside = pixels(folder / "depth" / "000002.png")[mask == 0]
    assert outside.min() == 255  # white where nothing is
    with av.open(str(folder / "grid.mp4")) as video:
        assert float(video.streams.video[0].average_rate) == 8.0
        assert sum(1 for _ in video.decode(video=0)) == 4
    content = json.loads((folder / "results.json").read_text())
    assert content["mean"] == result["mean"]
    assert content["folder"]["files"]["3"] == "000003.png"


def test_the_grid_shows_truth_rendering_normals_depth_and_opacity(tmp_path: Path) -> None:
    evaluate(BallPipeline(), tmp_path, None)
    grid = pixels(tmp_path / "test" / "grid" / "000001.png")
    side = 4 * SIZE  # enlarged to 96 pixels
    assert grid.shape == (2 * LABEL_HEIGHT + side, 5 * side + 4 * GAP, 3)
    panels = [grid[2 * LABEL_HEIGHT :, column * (side + GAP) :][:, :side] for column in range(5)]
    assert np.array_equal(panels[0][::4, ::4], pixels(tmp_path / "test" / "rgb_gt" / "000001.png"))
    for name, panel in zip(("rgb", "normal", "depth"), panels[1:], strict=False):
        assert np.array_equal(panel[::4, ::4], pixels(tmp_path / "test" / name / "000001.png"))
    assert np.array_equal(panels[4][::4, ::4, 1], pixels(tmp_path / "test" / "mask" / "000001.png"))
    assert grid[: 2 * LABEL_HEIGHT].min() < 100
    # Jet: the nearest point is blue, the rim, which is farther, is red.
    depth, mask = panels[3][::4, ::4].astype(int), panels[4][::4, ::4, 0] > 0
    rows, columns = np.nonzero(mask)
    centre = depth[int(rows.mean()), int(columns.mean())]
    assert centre[2] > centre[0] and depth[rows[0], columns[0], 0] > depth[rows[0], columns[0], 2]


def test_several_cameras_get_their_folders_and_videos(tmp_path: Path) -> None:
    pipeline = BallPipeline()
    pipeline.datamanager.train_dataset.metadata["camera_names"] = ["left", "a/../right"]
    evaluate(pipeline, tmp_path, None, split="train")
    folder = tmp_path / "train"
    assert sorted(path.name for path in (folder / "rgb").iterdir()) == ["a_right", "left"]
    assert len(list((folder / "grid" / "a_right").iterdir())) == 4
    assert {path.name for path in folder.glob("*.mp4")} == {"grid_left.mp4", "grid_a_right.mp4"}
    content = json.loads((folder / "results.json").read_text())
    assert content["folder"]["files"]["5"] == "a_right/000001.png"


def test_yaml_holds_the_same_and_the_names_of_the_reference(tmp_path: Path) -> None:
    pipeline = BallPipeline()  # a perfect one: the infinite PSNR becomes null
    evaluate(pipeline, tmp_path, None)
    text = (tmp_path / "test" / "results.yaml").read_text()
    content = json.loads((tmp_path / "test" / "results.json").read_text())
    assert yaml.safe_load(text) == content
    names_of_reference = content["reference_names"]
    assert content["mean"]["psnr"] is None
    assert names_of_reference["mean"]["mask_bce"] == content["mean"]["mask_bce"]
    assert set(names_of_reference["mean"]) == {"psnr", "mpsnr", "ssim", "mask_bce"}
    assert [row["frame_id"] for row in names_of_reference["per_frame"]] == [0, 1, 2, 3]
    assert names_of_reference["per_frame"][1]["ssim"] == content["per_frame"][1]["ssim"]
    of_video = with_reference_names({**content, "protocol_results": {"psnr_test": 30.0, "psnr_train": 31.0}})
    assert of_video["mean"]["metric_test_psnr"] == 30.0 and of_video["mean"]["metric_train_psnr"] == 31.0


def test_only_what_the_model_has_is_written(tmp_path: Path) -> None:
    pipeline = BallPipeline(with_masks=False)
    everything = pipeline.model.get_outputs_for_camera
    pipeline.model.get_outputs_for_camera = lambda camera: {"rgb": everything(camera)["rgb"]}
    evaluate(pipeline, tmp_path, None)
    assert sorted(path.name for path in (tmp_path / "test").iterdir() if path.is_dir()) == ["grid", "rgb", "rgb_gt"]
    assert pixels(tmp_path / "test" / "grid" / "000000.png").shape[1] == 2 * 96 + GAP


class Interrupted(Exception):
    """Stands for the end of the process."""


def interrupt_after(pipeline: BallPipeline, count: int) -> None:
    whole = pipeline.model.get_outputs_for_camera

    def stop(camera: Any) -> Any:
        if len(pipeline.model.was_in_training_mode) == count:
            raise Interrupted
        return whole(camera)

    pipeline.model.get_outputs_for_camera = stop


def test_an_interrupted_evaluation_continues_and_gives_the_same(tmp_path: Path, checkpoint: Path) -> None:
    whole = evaluate(BallPipeline(0.1), tmp_path / "whole", checkpoint)
    for images in (2, 1):
        pipeline = BallPipeline(0.1)
        interrupt_after(pipeline, images)
        with pytest.raises(Interrupted):
            evaluate(pipeline, tmp_path / "out", checkpoint)
        with (tmp_path / "out" / "test" / ".progress.jsonl").open("a") as file:
            file.write('{"row": {"image_ind')  # killed in the middle of a line
    last = BallPipeline(0.1)
    result = evaluate(last, tmp_path / "out", checkpoint)
    assert len(last.model.was_in_training_mode) == 1
    assert {**result, "seconds": 0} == {**whole, "seconds": 0}
    assert names(tmp_path / "out") == names(tmp_path / "whole")
    for name in names(tmp_path / "whole" / "test" / "depth"):
        one, other = (tmp_path / run / "test" / "depth" / name for run in ("whole", "out"))
        assert one.read_bytes() == other.read_bytes()


def test_a_complete_folder_is_not_rendered_again_unless_asked(tmp_path: Path, checkpoint: Path) -> None:
    first = evaluate(BallPipeline(0.1), tmp_path, checkpoint)
    again, fresh, other = BallPipeline(0.1), BallPipeline(0.1), BallPipeline(0.1)
    assert evaluate(again, tmp_path, checkpoint)["mean"] == first["mean"]
    assert again.model.was_in_training_mode == []
    evaluate(fresh, tmp_path, checkpoint, fresh=True)
    assert len(fresh.model.was_in_training_mode) == 4
    evaluate(other, tmp_path, checkpoint, mask="full")
    assert len(other.model.was_in_training_mode) == 4


def test_other_weights_replace_everything(tmp_path: Path, checkpoint: Path) -> None:
    evaluate(BallPipeline(0.1), tmp_path, checkpoint)
    checkpoint.write_bytes(b"weights of a later step")
    pipeline = BallPipeline(0.05)
    outputs = pipeline.model.get_outputs_for_camera
    pipeline.model.get_outputs_for_camera = lambda camera: {"rgb": outputs(camera)["rgb"]}
    evaluate(pipeline, tmp_path, checkpoint)
    assert len(pipeline.model.was_in_training_mode) == 4
    assert not list((tmp_path / "test" / "normal").glob("*.png"))


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "test" / "rgb").mkdir(parents=True)
    (tmp_path / "test" / "rgb" / "000000.png").write_bytes(b"a photograph")
    with pytest.raises(InputError, match="test holds something else than the results"):
        evaluate(BallPipeline(), tmp_path, None, fresh=True)
    assert names(tmp_path) == ["test/rgb/000000.png"]


def stems(cameras: list[int], times: list[float], frame_times: list[float]) -> list[str]:
    identities: Any = [
        {
            "image_index": index,
            "camera_id": camera,
            "time": time,
            "frame_id": min(range(len(frame_times)), key=lambda frame: abs(frame_times[frame] - time)),
        }
        for index, (camera, time) in enumerate(zip(cameras, times, strict=True))
    ]
    return [stem.as_posix() for stem in image_stems(identities, {"frame_times": torch.tensor(frame_times)})]


def test_names_follow_the_frame_only_where_they_can() -> None:
    assert stems([0, 0], [0.5, 0.0], [0.0, 0.5, 1.0]) == ["000001", "000000"]
    assert stems([0, 0], [0.5, 0.1], [0.0, 0.5, 1.0]) == ["000000", "000001"]  # no frame at 0.1
    assert stems([0, 0], [0.5, 0.5], [0.0, 0.5]) == ["000000", "000001"]  # one frame twice
    assert stems([3, 7, 7], [0.5, 0.0, 0.5], [0.0, 0.5]) == ["cam_003/000001", "cam_007/000000", "cam_007/000001"]
    assert stems([4, 5, 6], [0.0, 0.5, 0.5], [0.0, 0.5]) == ["000000", "000001", "000002"]  # each its own camera


def test_images_of_several_sizes_share_a_video(tmp_path: Path) -> None:
    for index, size in enumerate(((40, 20), (30, 50))):
        Image.new("RGB", size, (200, 0, 0)).save(tmp_path / f"{index}.png")
    write_grid_video(tmp_path / "grid.mp4", [tmp_path / "0.png", tmp_path / "1.png"], 10.0)
    with av.open(str(tmp_path / "grid.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(50, 40, 3)] * 2
    assert frames[0][40:].min() > 230 and frames[1][40, 20, 0] > 150


def test_a_dataset_with_masks_of_another_split_is_evaluated(tmp_path: Path) -> None:
    pipeline = BallPipeline()
    pipeline.datamanager.eval_dataset = BallDataset(ball_cameras(1, 2), "test")
    evaluate(pipeline, tmp_path, None)
    assert len(list((tmp_path / "test" / "rgb").iterdir())) == 2
