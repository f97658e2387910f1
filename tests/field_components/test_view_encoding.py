"""Encodings of view directions."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.field_components.nffb import NeuralFourierFilterBank
from nf_plugins.field_components.view_encoding import ViewEncodingConfig, ViewEncodingKind, build_view_encoding


def directions(*batch: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*batch, 3), dim=-1)


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({"kind": "none"}, 3),
        ({"kind": "posenc"}, 27),
        ({"kind": "posenc", "faithful": True}, 30),
        ({"kind": "sh"}, 16),
        ({"kind": "sh", "sh_degree": 5}, 25),
        ({"kind": "fourier", "num_fourier_features": 265}, 533),
        ({"kind": "hash"}, 11),
        ({"kind": "hash", "faithful": True}, 19),
        ({"kind": "nffb"}, 35),
        ({"kind": "nffb", "faithful": True}, 43),
        ({"kind": "stylemod-nffb"}, 35),
        ({"kind": "stylemod-nffb", "faithful": True}, 43),
    ],
)
def test_widths(options: dict[str, Any], width: int) -> None:
    encoding = build_view_encoding(ViewEncodingConfig(**options))
    assert encoding(directions(2, 5)).shape == (2, 5, width)
    assert encoding.out_dim == width


def test_no_encoding_is_the_direction_itself() -> None:
    views = directions(6)
    assert torch.equal(build_view_encoding(ViewEncodingConfig(kind="none"))(views), views)


def test_spherical_harmonics_are_nerfstudios_and_orthonormal() -> None:
    from nerfstudio.field_components.encodings import SHEncoding

    torch.manual_seed(0)
    views = directions(200_000)
    encoded = build_view_encoding(ViewEncodingConfig(kind="sh"))(views)
    torch.testing.assert_close(encoded, SHEncoding(levels=4, implementation="torch")(views), rtol=0, atol=1e-6)
    products = 4 * torch.pi * encoded.T @ encoded / len(views)
    torch.testing.assert_close(products, torch.eye(16), rtol=0, atol=0.03)


@pytest.mark.parametrize("kind", get_args(ViewEncodingKind))
def test_gradients_reach_the_direction_that_an_optimised_camera_turns(kind: Any) -> None:
    views = directions(10).requires_grad_()
    encoded = build_view_encoding(ViewEncodingConfig(kind=kind))(views)
    (gradient,) = torch.autograd.grad(encoded.square().sum(), views)
    assert gradient.isfinite().all()
    if kind not in ("sh", "none", "posenc", "fourier"):  # sums of squares of these are constant on the sphere
        assert gradient.any()
    (gradient,) = torch.autograd.grad(build_view_encoding(ViewEncodingConfig(kind=kind))(views).sum(), views)
    assert gradient.any()


def test_filter_banks_start_as_those_of_the_authors_radiance_fields() -> None:
    torch.manual_seed(0)
    bank = build_view_encoding(ViewEncodingConfig(kind="nffb", nffb_width=4000))
    assert isinstance(bank, NeuralFourierFilterBank) and bank.sines.frequency == 15.0
    expected = torch.tensor([8 * 1.5**level for level in range(4)])
    torch.testing.assert_close(bank.filters.flatten(1).std(dim=-1), expected, rtol=0.05, atol=0)
    narrow = build_view_encoding(ViewEncodingConfig(kind="nffb", nffb_sigma=0.1, nffb_sigma_growth=1.0))
    assert isinstance(narrow, NeuralFourierFilterBank) and float(narrow.filters.abs().max()) < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "none"}, "none has no faithful form"),
        ({"kind": "sh"}, "sh has no faithful form"),
        ({"kind": "hash", "interpolation": "smoothstep"}, "interpolation smoothstep: .* not go with faithful"),
        ({"kind": "nffb", "nffb_width": 128}, "nffb-width 128: .*: nffb-width 64"),
    ],
)
def test_what_faithful_has_no_use_for_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_view_encoding(ViewEncodingConfig(faithful=True, **options))


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="kind of the view encoding is 'SHEncoder', expected one of none, posenc, sh"):
        build_view_encoding(ViewEncodingConfig(kind="SHEncoder"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sh-degree is 6, expected 1 to 5"):
        build_view_encoding(ViewEncodingConfig(kind="sh", sh_degree=6))
