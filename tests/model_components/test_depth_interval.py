import pytest
import torch

from nf_plugins.model_components.depth_interval import depth_interval, lookup, lookup_volume, plane_probabilities

FRACTIONS = torch.linspace(0, 1, 5)


def test_negative_logits_weigh_as_zero() -> None:
    logits = torch.tensor([-3.0, 0.0, 2.0])[:, None, None]
    expected = torch.tensor([0.0, 0.0, 2.0]).softmax(0)
    torch.testing.assert_close(plane_probabilities(logits)[:, 0, 0], expected)


def test_equal_planes_give_the_moments_of_a_uniform_distribution() -> None:
    interval = depth_interval(torch.zeros(5, 1, 1), FRACTIONS)
    std = FRACTIONS.var(unbiased=False).sqrt()
    assert float(interval.mean) == pytest.approx(0.5)
    assert float(interval.std) == pytest.approx(float(std))
    assert float(interval.low) == pytest.approx(0.5 - float(std)) and float(interval.high) == pytest.approx(
        0.5 + float(std)
    )


def test_a_sure_plane_gives_an_interval_of_the_smallest_width_and_finite_gradients() -> None:
    logits = torch.zeros(5, 1, 1)
    logits[3] = 200
    logits.requires_grad_()
    interval = depth_interval(logits, FRACTIONS)
    assert float(interval.mean) == pytest.approx(0.75)
    assert float(interval.std) == pytest.approx(1e-5)
    (interval.low + interval.high).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_intervals_stay_within_the_range() -> None:
    logits = torch.zeros(5, 1, 2)
    logits[0, 0, 0] = logits[4, 0, 1] = 2.0
    interval = depth_interval(logits, FRACTIONS + 0.1)
    assert float(interval.low.min()) >= 0 and float(interval.high.max()) <= 1
    assert float(interval.low[0, 0]) == 0 and float(interval.high[0, 1]) == 1


def test_lookup_reads_the_pixel_that_lies_there() -> None:
    maps = torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(0))
    uv = torch.tensor([[12.0, 8.0], [14.0, 8.0], [100.0, -5.0]])
    values = lookup(maps, uv, 0.25)
    torch.testing.assert_close(values[0], maps[:, 2, 3])
    torch.testing.assert_close(values[1], (maps[:, 2, 3] + maps[:, 2, 4]) / 2)
    torch.testing.assert_close(values[2], maps[:, 0, 7])


def test_lookup_in_a_volume_reads_the_plane_too() -> None:
    volume = torch.rand(3, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    uv = torch.tensor([[6.0, 4.0], [6.0, 4.0]])
    values = lookup_volume(volume, uv, torch.tensor([0.5, 0.625]), 0.5)
    torch.testing.assert_close(values[0], volume[:, 2, 2, 3])
    torch.testing.assert_close(values[1], (volume[:, 2, 2, 3] + volume[:, 3, 2, 3]) / 2)
