"""The six methods on the tiny scene: every one trains, renders and refuses what does not fit it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_resfields import make_pipeline, run_callbacks, train_steps

import method_configs.resfields as methods
from nf_plugins.errors import InputError
from nf_plugins.fields.scene_motion import SceneMotionConfig

KINDS = ("dynerf", "dnerf", "nerfies", "hypernerf", "ndr")


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_trains_and_renders(kind: str, tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, getattr(methods, f"resfields_{kind}_tiny"))
    losses = train_steps(pipeline, 120)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    outputs = pipeline.model.eval().get_outputs_for_camera(pipeline.datamanager.eval_dataset.cameras[2:3])
    assert outputs["rgb"].isfinite().all() and 0.02 < float(outputs["accumulation"].mean()) < 0.9
    assert len(pipeline.model.surface_at(0.5).signed_distance(torch.zeros(4, 3))) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_everything_a_method_owns_is_trained(kind: str, tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, getattr(methods, f"resfields_{kind}_tiny"))
    train_steps(pipeline, 3)
    for name, parameter in pipeline.model.field.named_parameters():
        assert parameter.grad is not None, name


def test_methods_of_equal_sizes_are_told_apart(tiny_owlii_scene: Path) -> None:
    plain = make_pipeline(tiny_owlii_scene, density_of("laplace"))
    other = make_pipeline(tiny_owlii_scene, methods.resfields_dnerf_tiny)
    with pytest.raises(InputError, match="another method or size"):
        plain.load_pipeline(other.state_dict(), 0)


def density_of(density: str) -> object:
    tiny = methods.resfields_tnerf_tiny
    trainer = tiny.config
    model = trainer.pipeline.model
    model = replace(model, sdf_field=replace(model.sdf_field, density=density))
    return replace(tiny, config=replace(trainer, pipeline=replace(trainer.pipeline, model=model)))


def test_plain_density_trains_without_distance_losses(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, density_of("relu"))
    losses = train_steps(pipeline, 60)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    pipeline.train()
    terms = pipeline.get_train_loss_dict(61)[1]
    assert "eikonal_loss" not in terms and "free_space_loss" in terms
    surface = pipeline.model.surface_at(0.0)
    points = torch.rand(500, 3) - 0.5
    with torch.no_grad():
        raw = pipeline.model.field.geometry(points[None], surface.frames)[0][0]
    carved = surface.signed_distance(points) - (raw + 0.001)
    assert torch.equal(carved[carved.abs() < 1e-7], carved[carved == 0]) and (carved == 0).any()


def test_elastic_and_code_losses_come_when_asked(tiny_owlii_scene: Path) -> None:
    coefficients = {"rgb": 1.0, "mask": 0.1, "eikonal": 0.1, "elastic": 0.01, "code": 0.1}
    pipeline = make_pipeline(tiny_owlii_scene, methods.resfields_nerfies_tiny, loss_coefficients=coefficients)
    pipeline.train()
    terms = pipeline.get_train_loss_dict(0)[1]
    assert {"elastic_loss", "code_loss"} < set(terms)
    assert float(terms["code_loss"]) == pytest.approx(
        0.1 * float((pipeline.model.field.codes.weight**2).sum(-1).mean()), rel=1e-5
    )
    assert 0 < float(terms["elastic_loss"]) < 0.02
    sum(terms.values()).backward()
    assert all(math.isfinite(float(p.grad.abs().sum())) for p in pipeline.model.parameters() if p.grad is not None)


def test_a_plain_density_is_emptied_by_masks_alone(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, density_of("relu"))
    run_callbacks(pipeline, 0)
    carved = pipeline.model.occupancy.states.clone()
    for step in range(160, 260):
        run_callbacks(pipeline, step)
    assert torch.equal(pipeline.model.occupancy.states, carved)


def test_free_space_counts_beside_an_eikonal_term_everywhere(tiny_owlii_scene: Path) -> None:
    pipeline = make_pipeline(tiny_owlii_scene, eikonal_fraction=1.0)
    run_callbacks(pipeline, 0)
    pipeline.train()
    outputs = pipeline.model(pipeline.datamanager.next_train(0)[0])
    assert outputs["is_free"].any() and "gradient" in outputs


@pytest.mark.parametrize(
    ("kind", "loss", "density", "missing"),
    [
        ("tnerf", "elastic", "laplace", "warp"),
        ("dynerf", "elastic", "laplace", "warp"),
        ("dnerf", "code", "laplace", "codes"),
        ("ndr", "sparsity", "relu", "signed distance"),
    ],
)
def test_a_loss_without_its_subject_is_refused(
    kind: str, loss: str, density: str, missing: str, tiny_owlii_scene: Path
) -> None:
    networks = methods.resfields_tnerf_tiny.config.pipeline.model.sdf_field
    with pytest.raises(InputError, match=f"{loss}.*{missing}"):
        make_pipeline(
            tiny_owlii_scene,
            motion=SceneMotionConfig(kind),  # type: ignore[arg-type]
            sdf_field=replace(networks, density=density),
            loss_coefficients={"rgb": 1.0, loss: 0.1},
        )


@pytest.mark.parametrize("kind", ["tnerf", *KINDS])
def test_names_say_what_they_are(kind: str) -> None:
    for suffix in ("", "_published", "_tiny"):
        config = getattr(methods, f"resfields_{kind}{suffix}").config
        assert config.method_name == f"resfields_{kind}{suffix}".replace("_", "-")
        assert config.pipeline.model.motion.kind == kind
        assert config.pipeline.model.sdf_field.residual_layers
    plain = getattr(methods, f"{kind}_sdf").config
    assert plain.pipeline.model.motion.kind == kind and plain.pipeline.model.sdf_field.residual_layers == ()
