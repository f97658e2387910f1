"""From options to encodings of points."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.encoding_options import EncodingOptions
from nf_plugins.field_components.feature_grid import GridSizes
from nf_plugins.field_components.nffb import NeuralFourierFilterBank
from nf_plugins.field_components.point_encoding import (
    PointEncodingConfig,
    PointEncodingKind,
    build_point_encoding,
    grid_sizes,
)
from nf_plugins.field_components.style_modulation import LayerNormStyle, LevelModulation
from nf_plugins.field_components.view_encoding import ViewEncodingConfig

WITH_LEVELS = ("hash", "nffb", "stylemod-nffb")


def small(kind: Any, **options: Any) -> PointEncodingConfig:
    return PointEncodingConfig(kind=kind, **{"num_levels": 3, "log2_table_size": 8, "nffb_width": 8, **options})


@pytest.mark.parametrize("kind", get_args(PointEncodingKind))
def test_every_encoding_has_the_raw_point_first_and_keeps_its_config(kind: str) -> None:
    config = small(kind)
    before = copy.deepcopy(config)
    encoding = build_point_encoding(config)
    points = torch.rand(2, 5, 3) * 2 - 1
    encoded = encoding(points)
    assert encoded.shape == (2, 5, encoding.out_dim)
    assert torch.equal(encoded[..., :3], points)
    encoding.set_step(100)
    assert (encoding.finest_cell() > 0) == (kind in WITH_LEVELS)
    assert config == before
    assert encoding(points[:0]).shape == (0, 5, encoding.out_dim), "no ray may hit"


@pytest.mark.parametrize("kind", get_args(PointEncodingKind))
def test_normals_and_their_gradients_exist(kind: str) -> None:
    encoding = build_point_encoding(small(kind))
    points = (torch.rand(20, 3) * 2 - 1).requires_grad_()
    (gradient,) = torch.autograd.grad(encoding(points).square().sum(), points, create_graph=True)
    assert gradient.requires_grad and gradient.isfinite().all()
    gradient.square().sum().backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for n, p in encoding.named_parameters() if n != "output.bias"
    )


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({"kind": "posenc"}, 39),
        ({"kind": "posenc", "num_frequencies": 16, "max_octave": 5.0, "faithful": True}, 102),
        ({"kind": "fourier"}, 259),
        ({"kind": "fourier", "num_fourier_features": 3}, 9),
        ({"kind": "hash", "num_levels": 6, "log2_table_size": 15, "finest_resolution": 512}, 15),
        ({"kind": "hash", "faithful": True}, 27),
        ({"kind": "nffb", "log2_table_size": 8}, 67),
        ({"kind": "nffb", "log2_table_size": 8, "nffb_output": "concatenate"}, 3 + 5 * 128),
        ({"kind": "nffb", "faithful": True}, 59),
        ({"kind": "stylemod-nffb", "faithful": True}, 59),
        ({"kind": "stylemod-nffb", "faithful": True, "faithful_grid": "tcnn", "log2_table_size": 10}, 31),
    ],
)
def test_widths(options: dict[str, Any], width: int) -> None:
    assert build_point_encoding(PointEncodingConfig(**options)).out_dim == width


def test_sizes_that_are_not_given_are_the_published_ones() -> None:
    sizes = grid_sizes(PointEncodingConfig(kind="hash"))
    assert sizes[:4] == (16, 2, 19, 16)
    assert 16 * sizes.growth**15 == pytest.approx(2048)
    assert grid_sizes(PointEncodingConfig(kind="nffb")) == GridSizes(5, 2, 19, 8, 1.3)
    given = PointEncodingConfig(
        kind="nffb", num_levels=3, base_resolution=4, finest_resolution=16, features_per_level=4, log2_table_size=9
    )
    assert grid_sizes(given) == GridSizes(3, 4, 9, 4, 2.0)


def test_styles_are_chosen_by_name() -> None:
    for kind, style, expected in (
        ("nffb", "demodulated", type(None)),
        ("stylemod-nffb", "demodulated", LevelModulation),
        ("stylemod-nffb", "layernorm", LayerNormStyle),
    ):
        encoding = build_point_encoding(small(kind, style=style))
        assert isinstance(encoding, NeuralFourierFilterBank) and type(encoding.style) is expected


@pytest.mark.parametrize("kind", WITH_LEVELS)
def test_coarse_to_fine_levels_are_restored_from_a_checkpoint(kind: str) -> None:
    config = small(kind, start_levels=1, steps_per_level=10)
    trained, fresh = build_point_encoding(config), build_point_encoding(config)
    points = torch.rand(9, 3)
    coarse = trained.finest_cell()
    trained.set_step(15)
    assert trained.finest_cell() < coarse
    fresh.load_state_dict(trained.state_dict())
    assert fresh.finest_cell() == trained.finest_cell()
    assert torch.equal(fresh(points), trained(points))


def test_other_dimensions() -> None:
    for kind in get_args(PointEncodingKind):
        encoding = build_point_encoding(small(kind), in_dim=2)
        assert encoding(torch.rand(4, 2)).shape == (4, encoding.out_dim)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="kind of the encoding is 'FFB', expected one of posenc, fourier"):
        build_point_encoding(PointEncodingConfig(kind="FFB"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="style of the encoding is 'adain'"):
        build_point_encoding(PointEncodingConfig(kind="stylemod-nffb", style="adain"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "nffb",
            {"start_levels": 2, "steps_per_level": 9},
            "start-levels 2, steps-per-level 9: .* not go with faithful",
        ),
        ("hash", {"interpolation": "smoothstep"}, "interpolation smoothstep: .*expected the default.*tion linear"),
        ("hash", {"hash_backend": "nerfstudio"}, "hash-backend nerfstudio: "),
        ("hash", {"faithful_grid": "tcnn", "bound": 0.5}, "bound 0.5, faithful-grid tcnn: "),
        ("nffb", {"implementation": "torch"}, "implementation torch: .*: implementation auto"),
        ("nffb", {"nffb_width": 64, "nffb_sigma": 1.0}, "nffb-width 64, nffb-sigma 1.0: .*nffb-width 128 nffb-sigma 5"),
        ("stylemod-nffb", {"style": "layernorm"}, "style layernorm: .*stylemod-nffb is the reference's"),
        ("fourier", {}, "fourier has no faithful form, expected one of posenc, hash, nffb, stylemod-nffb"),
    ],
)
def test_options_without_a_part_in_the_faithful_encodings_are_refused(
    kind: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        build_point_encoding(PointEncodingConfig(kind=kind, faithful=True, **options))


def test_options_of_other_kinds_are_no_business_of_a_faithful_one() -> None:
    config = PointEncodingConfig(kind="hash", faithful=True, nffb_width=32, style="layernorm", max_octave=3.0)
    assert build_point_encoding(config).out_dim == 27


def test_every_option_says_what_it_is() -> None:
    import inspect

    for config in (EncodingOptions, PointEncodingConfig, ViewEncodingConfig):
        source = inspect.getsource(config)
        for name in config.__annotations__:
            after = source.split(f"\n    {name}: ")[1].split("\n")[1]
            assert after.strip().startswith('"""') and after.strip().endswith('"""')
