"""The video model: what a ray shows, the protocol's numbers, and that residual layers pay."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from toy_video import HEIGHT, NUM_FRAMES, WIDTH, toy_frames, write_video

from dataparsers.dnerf_rgba import DNeRFRGBADataParserConfig
from dataparsers.video import VideoDataParserConfig
from method_configs.resfields_video import ngp_video, resfields_video, resfields_video_tiny, siren_video
from nf_plugins.errors import InputError
from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.fields.coordinate_field import CoordinateFieldConfig
from nf_plugins.models.video import VideoModel, VideoModelConfig

SMALL = CoordinateFieldConfig(hidden_dim=16, num_hidden_layers=2, residual_layers=(1,), residual_rank=(2,))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "toy.mp4", toy_frames())


def pipeline_of(video: Path, field: CoordinateFieldConfig = SMALL, rays: int = 600, **data: Any) -> VanillaPipeline:
    base = resfields_video_tiny.config.pipeline
    datamanager = replace(
        base.datamanager,
        dataparser=VideoDataParserConfig(data=video, **data),
        train_num_rays_per_batch=rays,
        eval_num_rays_per_batch=rays,
    )
    torch.manual_seed(0)
    return replace(base, datamanager=datamanager, model=VideoModelConfig(field=field)).setup(
        device="cpu", test_mode="test"
    )


def video_model(pipeline: VanillaPipeline) -> VideoModel:
    assert isinstance(pipeline.model, VideoModel)
    return pipeline.model


def train(pipeline: VanillaPipeline, steps: int, learning_rate: float) -> float:
    """The last loss."""
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=learning_rate)
    pipeline.train()
    loss = torch.tensor(math.nan)
    for step in range(steps):
        _, loss_dict, _ = pipeline.get_train_loss_dict(step)
        loss = loss_dict["rgb_loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss)


def network_colors(model: VideoModel, time: float, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """The field by hand, at pixel centres (y, x in [-1, 1]) and the nearest frame's residual."""
    coordinates = torch.stack(
        [torch.full_like(rows, 2 * time - 1), 2 * rows / (HEIGHT - 1) - 1, 2 * columns / (WIDTH - 1) - 1], dim=-1
    )
    frames = FrameBatch.from_times(torch.tensor([time]), model.frame_times)
    return model.field(coordinates[None], frames)[0]


@torch.no_grad()
@pytest.mark.parametrize("time", [0.4, 0.47])
def test_a_camera_shows_the_network_at_the_pixels_and_the_time(video: Path, time: float) -> None:
    """At a frame's time and between frames, where t moves on and the residual is that of frame 2."""
    pipeline = pipeline_of(video)
    model = video_model(pipeline).eval()
    camera = pipeline.datamanager.eval_dataset.cameras[2:3]
    camera.times = torch.tensor([[time]])
    outputs = model.get_outputs_for_camera(camera)
    rows, columns = torch.meshgrid(torch.arange(float(HEIGHT)), torch.arange(float(WIDTH)), indexing="ij")
    expected = network_colors(model, time, rows.flatten(), columns.flatten()).view(HEIGHT, WIDTH, 3)
    torch.testing.assert_close(outputs["rgb"], expected.clamp(0, 1), rtol=0, atol=2e-5)
    assert outputs["accumulation"].shape == outputs["depth"].shape == (HEIGHT, WIDTH, 1)
    assert (outputs["accumulation"] == 1).all()
    assert expected.min() < 0, "the network is not limited, the picture is"
    if time == 0.4:
        numbers = torch.arange(HEIGHT * WIDTH)
        torch.testing.assert_close(model.pixel_colors(2, numbers).view(HEIGHT, WIDTH, 3), expected, rtol=0, atol=2e-5)
    else:
        still = network_colors(model, 0.4, rows.flatten(), columns.flatten()).view(HEIGHT, WIDTH, 3)
        assert (still - expected).abs().max() > 1e-3


@torch.no_grad()
def test_a_camera_farther_away_shows_the_picture_on_its_background(video: Path) -> None:
    """As the viewer does: another pose and another resolution."""
    pipeline = pipeline_of(video)
    model = video_model(pipeline).eval()
    camera = pipeline.datamanager.eval_dataset.cameras[0:1]
    whole = model.get_outputs_for_camera(camera)["rgb"]
    camera.camera_to_worlds[..., 2, 3] *= 2
    camera.rescale_output_resolution(2.0)
    outputs = model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (2 * HEIGHT, 2 * WIDTH, 3)
    inside = outputs["accumulation"][..., 0] > 0
    window = slice(HEIGHT // 2, HEIGHT // 2 + HEIGHT), slice(WIDTH // 2, WIDTH // 2 + WIDTH)
    assert inside[window].all() and inside.sum() == HEIGHT * WIDTH
    assert (outputs["rgb"][~inside] == 0).all()
    torch.testing.assert_close(outputs["rgb"][window], whole, rtol=0, atol=2e-5)
    away = RayBundle(
        origins=torch.tensor([[0.0, 0.0, 2.0]]),
        directions=torch.tensor([[0.0, 0.0, 1.0]]),
        pixel_area=torch.ones(1, 1),
        times=torch.zeros(1, 1),
    )
    assert model(away)["rgb"].tolist() == [[0, 0, 0]] and model(away)["accumulation"].item() == 0


def test_the_loss_is_a_thousand_times_the_mean_squared_error(video: Path) -> None:
    pipeline = pipeline_of(video)
    rays, batch = pipeline.datamanager.next_train(0)
    outputs = pipeline.model(rays)
    (loss,) = pipeline.model.get_loss_dict(outputs, batch).values()
    torch.testing.assert_close(loss, 1000 * ((outputs["rgb"] - batch["image"]) ** 2).mean())
    metrics = pipeline.model.get_metrics_dict(outputs, batch)
    torch.testing.assert_close(metrics["psnr"], -10 * torch.log10(loss.detach() / 1000))
    assert set(metrics) == {"psnr"}


@torch.no_grad()
@pytest.mark.parametrize("held_out", ["pixels", "frames", "none"])
def test_protocol_results_are_global_errors_without_limits(video: Path, held_out: str) -> None:
    pipeline = pipeline_of(video, held_out=held_out, held_out_fraction=0.34)
    model = video_model(pipeline).eval()
    model.config.eval_num_rays_per_chunk = 50
    truth = torch.from_numpy(toy_frames()).view(NUM_FRAMES, -1, 3) / 255
    rendered = torch.stack([model.pixel_colors(frame, torch.arange(HEIGHT * WIDTH)) for frame in range(NUM_FRAMES)])
    error = (rendered - truth).square().mean(-1)
    is_test = torch.stack([~model.held_out.is_training(frame) for frame in range(NUM_FRAMES)])
    results = model.protocol_results()
    assert results["psnr_train"] == pytest.approx(-10 * math.log10(error[~is_test].mean()), abs=1e-4)
    if held_out == "none":
        assert results["psnr_test"] is None
    else:
        assert results["psnr_test"] == pytest.approx(-10 * math.log10(error[is_test].mean()), abs=1e-4)
        limited = (rendered.clamp(0, 1) - truth).square().mean(-1)
        assert results["psnr_test"] != pytest.approx(-10 * math.log10(limited[is_test].mean()), abs=1e-2)


def test_validation_logs_the_psnr_of_all_held_out_pixels(video: Path) -> None:
    pipeline = pipeline_of(video)
    _, loss_dict, metrics = pipeline.get_eval_loss_dict(0)
    assert metrics["psnr_test"] == pytest.approx(video_model(pipeline).protocol_results()["psnr_test"], abs=1e-4)
    assert not loss_dict["rgb_loss"].requires_grad
    _, _, metrics = pipeline_of(video, held_out="none").get_eval_loss_dict(0)
    assert set(metrics) == {"psnr"}


def test_residual_layers_fit_better_at_equal_width(video: Path) -> None:
    field = replace(SMALL, hidden_dim=24, num_hidden_layers=3, residual_layers=(1, 2), residual_rank=(4,))
    with_residuals, without = pipeline_of(video, field), pipeline_of(video, replace(field, residual_layers=()))
    losses = [train(pipeline, 200, 2e-3) for pipeline in (with_residuals, without)]
    assert losses[0] < 0.8 * losses[1]
    results = [video_model(pipeline.eval()).protocol_results() for pipeline in (with_residuals, without)]
    assert results[0]["psnr_train"] > results[1]["psnr_train"]


def test_the_hash_grid_trains_too(video: Path) -> None:
    field = CoordinateFieldConfig(network="hash_grid", residual_layers=(), hash_num_levels=3, hash_log2_table_size=10)
    pipeline = pipeline_of(video, field)
    first = train(pipeline, 1, 1e-2)
    assert train(pipeline, 60, 1e-2) < 0.2 * first


def test_sizes_are_the_published_ones() -> None:
    def parameters(config: Any) -> int:
        field = config.pipeline.model.field.setup(in_dim=3, out_dim=3, num_frames=250)
        return sum(parameter.numel() for parameter in field.parameters())

    assert parameters(siren_video.config) == 791_555
    assert parameters(resfields_video.config) == 791_555 + 3 * 10 * (250 + 512 * 512)  # 8.66 million
    assert parameters(ngp_video.config) == 24_575_648 + (32 * 64 + 64) + (64 * 64 + 64) + (64 * 3 + 3)
    for method in (resfields_video, siren_video):
        assert method.config.optimizers["fields"]["optimizer"].lr == 5e-5
        assert method.config.max_num_iterations == 100_000
        assert method.config.pipeline.datamanager.train_num_rays_per_batch == 200_000
        assert method.config.steps_per_eval_batch == 2500 and method.config.steps_per_save == 20_000


def test_held_out_frames_without_shared_coefficients_are_warned_about(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def warns(field: CoordinateFieldConfig, **data: Any) -> bool:
        pipeline_of(video, field, **data).get_training_callbacks(None)  # type: ignore[arg-type]
        return "which no training frame moves" in " ".join(capsys.readouterr().out.split())

    held_out = {"held_out": "frames", "held_out_fraction": 0.34}
    assert warns(SMALL, **held_out)
    assert warns(replace(SMALL, residual_mode="interpolation"), **held_out)
    assert not warns(replace(SMALL, residual_mode="interpolation", coefficient_ratio=0.5), **held_out)
    assert not warns(replace(SMALL, residual_layers=()), **held_out)
    assert not warns(SMALL)


def test_data_without_a_video_are_refused(tiny_dnerf_scene: Path) -> None:
    outputs = DNeRFRGBADataParserConfig(data=tiny_dnerf_scene).setup().get_dataparser_outputs("train")
    with pytest.raises(InputError, match="needs the frames of a video .* dataparsers that can: video-data"):
        VideoModelConfig(field=SMALL).setup(scene_box=outputs.scene_box, num_train_data=6, metadata=outputs.metadata)


def test_a_checkpoint_of_other_residuals_is_refused(video: Path) -> None:
    state = pipeline_of(video).model.state_dict()
    pipeline_of(video).model.load_state_dict(state)
    other = pipeline_of(video, replace(SMALL, residual_mode="interpolation")).model
    with pytest.raises(InputError, match="residual_mode = lookup where interpolation is expected"):
        other.load_state_dict(state)


def test_from_the_command_line_to_a_video(video: Path, tmp_path: Path) -> None:
    """ns-train, what it leaves, nf-render at the clip's own size and rate, nerfstudio's own evaluation."""
    import av

    from nf_plugins.cli.render import RenderTime
    from nf_plugins.engine.load_run import load_run

    command = [str(Path(sys.executable).with_name("ns-train")), "resfields-video-tiny", "--data", str(video)]
    command += ["--output-dir", str(tmp_path), "--experiment-name", "toy", "--timestamp", "run", "--vis", "tensorboard"]
    command += ["--max-num-iterations", "40", "--steps-per-eval-batch", "20", "--steps-per-eval-image", "20"]
    command += ["--pipeline.model.field.hidden-dim", "16", "video-data", "--held-out-fraction", "0.2"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, cwd=tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    run = tmp_path / "toy" / "resfields-video-tiny" / "run"
    results = json.loads((run / "evaluation" / "test.json").read_text())
    assert len(results["images"]) == NUM_FRAMES
    assert 8 < results["protocol_results"]["psnr_test"] < 40 and results["protocol_results"]["psnr_train"] > 8
    assert "held out, seed 42" in results["protocol"]["protocol_note"]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"Train Loss Dict/rgb_loss", "Train Metrics Dict/psnr", "Eval Metrics Dict/psnr_test"} <= scalars

    _, pipeline, _, step = load_run(run)
    assert step == 39
    measured = video_model(pipeline).protocol_results()
    assert measured["psnr_test"] == pytest.approx(results["protocol_results"]["psnr_test"], abs=1e-3)
    assert pipeline.get_average_eval_image_metrics()["psnr"] == pytest.approx(results["mean"]["psnr"], abs=1e-3)

    rendered = tmp_path / "frames"
    RenderTime(load_config=run / "config.yml", output_path=rendered).main()
    first = video_model(pipeline).pixel_colors(0, torch.arange(HEIGHT * WIDTH)).view(HEIGHT, WIDTH, 3)
    from PIL import Image

    expected = (255 * first.detach().clamp(0, 1)).round().numpy()
    np.testing.assert_allclose(np.array(Image.open(rendered / "00000.png")), expected, atol=1)
    output_path = tmp_path / "reconstruction.mp4"
    RenderTime(load_config=run / "config.yml", output_path=output_path).main()
    with av.open(str(output_path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (WIDTH, HEIGHT, NUM_FRAMES)
        assert stream.average_rate == 10
