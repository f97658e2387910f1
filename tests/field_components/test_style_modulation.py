"""Modulation, demodulation and attention over the levels."""

from __future__ import annotations

import torch

from nf_plugins.field_components.style_modulation import LayerNormStyle, LevelModulation, modulated_linear


def test_modulated_layers_equal_weights_formed_for_every_point() -> None:
    torch.manual_seed(0)
    inputs, scales = torch.randn(2, 2, 7, 4, dtype=torch.float64)
    weight = torch.randn(2, 4, 5, dtype=torch.float64)
    weights = weight[:, None] * scales[..., None]  # (levels, N, inputs, outputs)
    weights = weights / (weights.square().sum(-2, keepdim=True) + 1e-8).sqrt()
    expected = torch.einsum("lni,lnio->lno", inputs, weights)
    torch.testing.assert_close(modulated_linear(inputs, scales, weight), expected)


def test_demodulated_outputs_have_unit_variance_whatever_the_scales() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(1, 100_000, 16)
    scales = 1 + 5 * torch.rand(16)
    outputs = modulated_linear(inputs, scales.expand_as(inputs), torch.randn(1, 16, 6))
    torch.testing.assert_close(outputs[0].var(0), torch.ones(6), rtol=0.03, atol=0)


def test_attention_is_shared_out_between_all_levels() -> None:
    torch.manual_seed(0)
    attention = LevelModulation(4, 8).attention(torch.randn(30, 8))
    assert attention.shape == (30, 4)
    torch.testing.assert_close(attention.sum(-1), torch.ones(30))
    assert attention.std(0).min() > 0.01, "it depends on the point"


def test_a_level_that_comes_in_leaves_the_others_as_they_are() -> None:
    torch.manual_seed(0)
    style = LevelModulation(4, 8)
    filtered, hidden = torch.randn(4, 10, 8), torch.randn(10, 8)
    whole = style(filtered, hidden)
    for num_active in (1, 3):
        torch.testing.assert_close(style(filtered[:num_active], hidden), whole[:num_active])


def test_equal_attention_and_no_modulation_leave_a_normalised_linear_layer() -> None:
    torch.manual_seed(0)
    style = LevelModulation(3, 8)
    for parameter in (style.scales, *style.attention_logits.parameters()):
        torch.nn.init.zeros_(parameter)
    filtered = torch.randn(3, 10, 8)
    expected = filtered @ (style.weight / style.weight.norm(dim=1, keepdim=True))
    torch.testing.assert_close(style(filtered, torch.randn(10, 8)), expected)


def test_everything_that_is_learnt_gets_a_gradient_from_values_and_from_gradients() -> None:
    torch.manual_seed(0)
    style = LevelModulation(3, 8)
    filtered, hidden = torch.randn(3, 10, 8), torch.randn(10, 8).requires_grad_()
    output = style(filtered, hidden).square().sum()
    (gradient,) = torch.autograd.grad(output, hidden, create_graph=True)
    for loss in (output, gradient.square().sum()):
        gradients = torch.autograd.grad(loss, list(style.parameters()), retain_graph=True)
        assert all(part.abs().max() > 1e-4 for part in gradients)


def test_the_layer_norm_is_torchs_and_knows_no_position() -> None:
    torch.manual_seed(0)
    style = LayerNormStyle(8)
    filtered = torch.randn(3, 10, 8)
    expected = torch.nn.LayerNorm(8, elementwise_affine=False)(style.linear(filtered))
    torch.testing.assert_close(style(filtered, torch.randn(10, 8)), expected)
    assert torch.equal(style(filtered, torch.randn(10, 8)), style(filtered, torch.randn(10, 8)))
