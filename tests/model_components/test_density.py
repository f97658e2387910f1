import pytest
import torch

from nf_plugins.model_components.density import LaplaceDensity, laplace_density


def test_known_values() -> None:
    values = laplace_density(torch.tensor([-0.2, 0.0, 0.2]), 0.1001)
    assert values.tolist() == pytest.approx([9.313, 4.995, 0.677], abs=1e-3)


def test_starts_at_its_width_and_never_reaches_zero() -> None:
    density = LaplaceDensity(0.1)
    assert density.beta.item() == pytest.approx(0.1001)
    torch.nn.init.zeros_(density.raw_beta)
    assert torch.isfinite(density(torch.tensor([-1.0, 0.0, 1.0]))).all()


def test_falls_monotonically_and_gradients_are_finite() -> None:
    distance = torch.linspace(-1, 1, 201, requires_grad=True)
    density = laplace_density(distance, 0.01)
    assert (density.diff() <= 0).all()
    density.sum().backward()
    assert torch.isfinite(distance.grad).all()
