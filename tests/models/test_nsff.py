"""The model on its datamanager over a tiny video: losses by stage, gradients, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monocular_scene import NUM_FRAMES, write_monocular_scene
from nerfstudio.engine.callbacks import TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from nsff_pipeline import FIELD, make_pipeline, model_of

from method_configs.nsff import nsff_tiny
from nf_plugins.errors import InputError
from nf_plugins.model_components.ndc import NDCFrame, ndc_from_world, project

BOTH = {"dynamic", "warped", "cycle", "disocclusion", "sparsity", "spatial", "temporal", "depth", "flow"}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_monocular_scene(tmp_path_factory.mktemp("scenes") / "monocular")


def run_callbacks(pipeline: VanillaPipeline, step: int) -> None:
    for callback in pipeline.get_training_callbacks(SimpleNamespace(pipeline=pipeline)):  # type: ignore[arg-type]
        callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)


def batch_of_frame(pipeline: VanillaPipeline, frame: int, step: int = 0) -> tuple[Any, dict[str, torch.Tensor]]:
    """A training batch that shows a frame."""
    for _ in range(200):
        bundle, batch = pipeline.datamanager.next_train(step)
        if int(batch["indices"][0, 0]) == frame:
            return bundle, batch
    raise AssertionError(f"frame {frame} was never drawn")


def losses_of(pipeline: VanillaPipeline, frame: int, step: int, seed: int = 3) -> dict[str, torch.Tensor]:
    """Losses of a step at a frame; the same seed gives the same samples and noise."""
    model = model_of(pipeline)
    model.update_to_step(step)
    torch.manual_seed(seed)
    bundle, batch = batch_of_frame(pipeline, frame, step)
    return model.get_loss_dict(model(bundle), batch)


def names(losses: dict[str, torch.Tensor]) -> set[str]:
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    return {name.removesuffix("_loss") for name in losses}


@pytest.fixture(scope="module")
def still(scene: Path) -> VanillaPipeline:
    """A pipeline whose weights no test changes."""
    return make_pipeline(scene)


def test_training_lowers_the_loss_and_reaches_every_parameter_in_all_stages(scene: Path) -> None:
    pipeline = make_pipeline(scene, field=replace(FIELD, residual_layers=(1, 2), residual_rank=(2,)))
    optimizer = torch.optim.Adam(pipeline.get_param_groups()["fields"], lr=3e-3)
    first, last = [], []
    for step in range(45):
        run_callbacks(pipeline, step)
        _, losses, metrics = pipeline.get_train_loss_dict(step)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        (first if step < 10 else last).append(float(losses["combined_loss"]))
        rays = 48 + (min(128, 400) if step < 10 else 0)
        assert metrics["field_evaluations"] <= rays * 12 * 5
    assert sum(last[-10:]) < 0.8 * sum(first)
    for name, parameter in model_of(pipeline).field.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_losses_of_each_stage_and_at_the_ends(still: VanillaPipeline) -> None:
    everything = BOTH | {"combined", "entropy"}
    assert names(losses_of(still, 2, 0)) == everything
    assert names(losses_of(still, 2, 11)) == everything
    assert names(losses_of(still, 2, 21)) == everything | {"chained"}
    # The first frame has no frame before: no chain backwards (even steps), no velocity to compare with.
    assert names(losses_of(still, 0, 22)) == everything - {"temporal"}
    assert names(losses_of(still, 0, 21)) == everything | {"chained"}
    assert names(losses_of(still, NUM_FRAMES - 1, 21)) == everything - {"temporal"}


def test_priors_fall_to_a_tenth_with_each_stage(still: VanillaPipeline) -> None:
    model = model_of(still)
    weights = []
    for step in (9, 10, 20):
        model.update_to_step(step)
        weights.append((model.loss_weight("depth"), model.loss_weight("flow"), model.loss_weight("combined")))
    assert weights[0] == (0.04, 0.02, 1.0)
    assert weights[1] == pytest.approx((0.004, 0.002, 1.0))
    assert weights[2] == pytest.approx((4e-4, 2e-4, 1.0))


def test_hard_mined_rays_are_left_out_of_the_combined_loss(still: VanillaPipeline) -> None:
    model = model_of(still)
    run_callbacks(still, 0)
    bundle, batch = batch_of_frame(still, 2)
    assert int(batch["hard_mined"].sum()) > 0
    outputs = model(bundle)
    expected = (outputs["rgb"][:48] - batch["image"][:48]).square().mean()
    torch.testing.assert_close(model.get_loss_dict(outputs, batch)["combined_loss"], expected)


def test_rays_without_disparity_take_no_part_in_the_depth_loss(still: VanillaPipeline) -> None:
    model = model_of(still)
    model.update_to_step(0)
    torch.manual_seed(0)
    bundle, batch = batch_of_frame(still, 2, step=10**6)
    rendered = model.training_pass(bundle, 2)
    valid = batch["disparity_valid"] = (torch.arange(48) % 3 > 0).float()[:, None]

    def depth_loss(disparity: torch.Tensor) -> float:
        loss = model.loss_terms(rendered, batch | {"disparity": disparity}).depth()
        assert loss is not None
        return float(loss.detach())

    kept = valid[:, 0] > 0
    alone = rendered.reference.dynamic_render.ray_parameter[kept].detach()
    target = -batch["disparity"][kept, 0]
    freed = [(x - x.median()) / (x - x.median()).abs().mean() for x in (alone, target)]
    expected = depth_loss(batch["disparity"])
    assert expected == pytest.approx(float((freed[0] - freed[1]).square().mean()), rel=1e-5)
    assert depth_loss(torch.where(kept[:, None], batch["disparity"], 100.0)) == expected
    assert depth_loss(torch.where(kept[:, None], 1 / batch["disparity"], batch["disparity"])) != expected
    batch["disparity_valid"] = torch.ones_like(valid)
    assert depth_loss(batch["disparity"]) != expected
    batch["disparity_valid"] = torch.zeros_like(valid)
    assert depth_loss(batch["disparity"]) == 0


def gradients(pipeline: VanillaPipeline, losses: list[torch.Tensor]) -> set[str]:
    """First names of the modules that receive a gradient."""
    model = model_of(pipeline)
    model.zero_grad()
    torch.stack(losses).sum().backward()
    reached = {
        name.split(".")[1]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    }
    model.zero_grad()
    return reached


def test_which_loss_reaches_which_network(still: VanillaPipeline) -> None:
    dynamic = {"dynamic_trunk", "dynamic_radiance", "scene_flow", "disocclusion"}
    static = {"static_trunk", "static_radiance", "blend"}
    losses = losses_of(still, 2, 21)
    own = [value for name, value in losses.items() if name not in ("combined_loss", "entropy_loss")]
    assert gradients(still, own) == dynamic
    one = {name: gradients(still, [losses_of(still, 2, 21)[f"{name}_loss"]]) for name in sorted(BOTH | {"chained"})}
    assert {name for name, reached in one.items() if "disocclusion" in reached} == {"warped", "cycle", "disocclusion"}
    assert one["flow"] >= {"dynamic_radiance", "scene_flow"}
    assert one["depth"] == {"dynamic_trunk", "dynamic_radiance"}
    assert gradients(still, [losses_of(still, 2, 0)["combined_loss"]]) == static | {"dynamic_trunk", "dynamic_radiance"}
    assert gradients(still, [losses_of(still, 2, 0)["entropy_loss"]]) == {"static_trunk", "blend"}


def test_variant_of_the_paper(scene: Path) -> None:
    pipeline = make_pipeline(scene, loss_variant="paper")
    main = make_pipeline(scene)
    assert "chained" in names(losses_of(pipeline, 2, 10)) and "chained" not in names(losses_of(main, 2, 10))
    papers, mains = losses_of(pipeline, 2, 21), losses_of(main, 2, 21)
    # The second step of the chain is held to the same rules as the first.
    for name in ("cycle", "disocclusion"):
        assert papers[f"{name}_loss"] > mains[f"{name}_loss"]
    assert "disocclusion" in gradients(pipeline, [papers["chained_loss"]])
    assert not torch.equal(papers["dynamic_loss"], mains["dynamic_loss"])
    assert "entropy_loss" in mains and "entropy_loss" not in papers
    # Where the rendered surface is seen is the ray's own pixel, as long as expected points are divided by the opacity.
    torch.testing.assert_close(papers["flow_loss"], mains["flow_loss"])


def test_published_slips_can_be_had(scene: Path) -> None:
    quirks = make_pipeline(scene, reference_quirks=True)
    # Times before the first frame are asked for; there is no optical flow to there.
    assert "temporal" in names(losses_of(quirks, 0, 22)) and "chained" in names(losses_of(quirks, 0, 22))
    summed, expected = losses_of(quirks, 2, 0), losses_of(make_pipeline(scene), 2, 0)
    assert summed["sparsity_loss"] < expected["sparsity_loss"]
    assert not torch.equal(summed["flow_loss"], expected["flow_loss"])


def test_alternating_neighbours_are_right_on_average(scene: Path) -> None:
    both = make_pipeline(scene, density_noise_std=0.0)
    alternating = make_pipeline(scene, density_noise_std=0.0, alternate_neighbours=True)
    wanted = losses_of(both, 2, 0)
    found = [losses_of(alternating, 2, step) for step in (0, 1)]
    for name in ("warped_loss", "cycle_loss"):
        torch.testing.assert_close((found[0][name] + found[1][name]) / 2, wanted[name])
    for name in ("flow_loss", "spatial_loss", "disocclusion_loss"):
        torch.testing.assert_close(found[0][name], wanted[name])


def test_far_points_keep_their_pixel_and_near_distances(still: VanillaPipeline) -> None:
    model = model_of(still)
    torch.manual_seed(0)
    bundle, batch = batch_of_frame(still, 2, step=10**6)
    geometry = model.loss_terms(model.training_pass(bundle, 2), batch).geometry
    depth = 2000.0
    point = torch.tensor([[[0.3 * depth, -0.2 * depth, -depth]]], dtype=torch.float64)
    assert isinstance(model.space, NDCFrame)
    ndc_point = ndc_from_world(point, model.space)
    for frame in range(NUM_FRAMES):
        pose, intrinsics = (values[frame].double() for values in (geometry.camera_to_worlds, geometry.intrinsics))
        exact = project(point[:, 0], pose, intrinsics)
        seen = geometry.pixel(torch.ones(1, 1), ndc_point.float(), frame)
        assert float((seen - exact).abs().max()) < 0.01
    assert float(geometry.world(ndc_point.float())[..., 2]) == pytest.approx(-200, rel=1e-3)
    beyond = torch.tensor([[[0.1, 0.1, 1.3]]])
    quirks = replace(geometry, limits_depth=False)
    assert float(geometry.world(beyond)[..., 2]) < 0 < float(quirks.world(beyond)[..., 2])


def test_standing_points_project_to_where_the_optical_flow_says(still: VanillaPipeline) -> None:
    model = model_of(still)
    torch.manual_seed(0)
    bundle, batch = batch_of_frame(still, 2, step=10**6)
    rendered = model.training_pass(bundle, 2)
    terms = model.loss_terms(rendered, batch)
    planes = torch.linspace(0, 0.98, 2000)
    samples = rendered.reference.samples
    start = samples.points[:, :1] - samples.ray_parameters[:, :1, None] * torch.tensor([0, 0, 2.0])
    slope = (samples.points[:, -1] - samples.points[:, 0]) / (
        samples.ray_parameters[:, -1] - samples.ray_parameters[:, 0]
    )[:, None]
    start = samples.points[:, 0] - samples.ray_parameters[:, :1] * slope
    points = start[:, None] + planes[:, None] * slope[:, None]
    own = terms.geometry.pixel(torch.ones(48, 2000, 1), points[..., None, :], 2)
    assert float((own - terms.target.pixels[:, None]).abs().max()) < 1e-3
    standing = batch["motion_mask"][:, 0] == 0
    for offset in (-1, 1):
        flow, valid = terms.target.optical_flow[offset]
        seen = terms.geometry.pixel(torch.ones(48, 2000, 1), points[..., None, :], 2 + offset)
        nearest = (seen - (terms.target.pixels + flow)[:, None]).norm(dim=-1).amin(1)
        assert float(nearest[standing & (valid > 0)].max()) < 0.02


@pytest.mark.parametrize(
    ("steps", "said"),
    [(10, "within the first stage of 10 with 5 frames"), (11, "before chains of two frames"), (21, "before"), (22, "")],
)
def test_a_run_that_ends_before_its_last_stage_says_so(
    still: VanillaPipeline, capsys: pytest.CaptureFixture[str], steps: int, said: str
) -> None:
    trainer = SimpleNamespace(config=SimpleNamespace(max_num_iterations=steps))
    still.get_training_callbacks(SimpleNamespace(pipeline=still, trainer=trainer))  # type: ignore[arg-type]
    out = " ".join(capsys.readouterr().out.split())
    assert (said in out) if said else ("Training ends" not in out)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"splat_planes_per_chunk": 0}, "splat-planes-per-chunk is 0"),
        ({"eval_num_rays_per_chunk": 0}, "eval-num-rays-per-chunk is 0"),
        ({"decay_iteration": -5}, "decay-iteration is -5"),
        ({"density_noise_std": float("nan")}, "density-noise-std is nan"),
        ({"scene_flow_scale": 0.0}, "scene-flow-scale is 0"),
        ({"loss_coefficients": {"flow": -1.0}}, "loss-coefficients.flow is -1"),
        ({"field": replace(FIELD, skip_layer=5)}, "skip-layer is 5"),
    ],
)
def test_numbers_out_of_range_are_refused(scene: Path, fields: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError, match=option):
        make_pipeline(scene, **fields)


def test_evaluation_batches_have_the_colour_loss_alone(still: VanillaPipeline) -> None:
    _, losses, metrics = still.get_eval_loss_dict(0)
    assert set(losses) == {"combined_loss"} and set(metrics) == {"psnr"}
    assert still.model.training


def test_missing_priors_are_named_and_can_be_done_without(tmp_path: Path) -> None:
    scene = write_monocular_scene(tmp_path / "bare", priors=False, motion_masks=False, num_held_out=0)
    with pytest.raises(InputError, match=r"disparity_filenames.*loss-coefficients\.depth 0"):
        run_callbacks(make_pipeline(scene), 0)
    coefficients = dict(nsff_tiny.config.pipeline.model.loss_coefficients) | {"depth": 0.0, "flow": 0.0}
    pipeline = make_pipeline(scene, loss_coefficients=coefficients)
    run_callbacks(pipeline, 0)
    assert names(losses_of(pipeline, 2, 0)) == (BOTH | {"combined", "entropy"}) - {"depth", "flow"}


def test_what_makes_no_model_is_refused(scene: Path, still: VanillaPipeline) -> None:
    with pytest.raises(InputError, match="loss-coefficients has rgb"):
        make_pipeline(scene, loss_coefficients={"rgb": 1.0})
    with pytest.raises(InputError, match="num-samples is 1"):
        make_pipeline(scene, num_samples=1)
    bundle, _ = batch_of_frame(still, 2)
    bundle.times[0] = 0.0
    with pytest.raises(InputError, match="several frames"):
        still.model(bundle)
    metadata = {key: value for key, value in model_of(still).metadata.items() if key != "ndc"}
    with pytest.raises(InputError, match="frustum of normalised device coordinates .*nsff-data"):
        model_of(still).config.setup(scene_box=still.model.scene_box, num_train_data=5, metadata=metadata)


def test_checkpoint_of_another_kind_is_refused(scene: Path, still: VanillaPipeline) -> None:
    state = still.model.state_dict()
    same = make_pipeline(scene)
    same.model.load_state_dict(state)
    with pytest.raises(InputError, match="blend_mode"):
        make_pipeline(scene, blend_mode="additive").model.load_state_dict(state)
