import math

import pytest
import torch

from nf_plugins.field_components.annealed_encoding import AnnealedPositionalEncoding, annealing_window


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.0, [0, 0, 0, 0, 0, 0]), (0.25, [1, 0.5, 0, 0, 0, 0]), (1.0, [1, 1, 1, 1, 1, 1])],
)
def test_window_known_values(alpha: float, expected: list[float]) -> None:
    assert torch.allclose(annealing_window(alpha, 6), torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_layout_is_identity_then_sine_and_cosine_of_each_octave() -> None:
    point = torch.tensor([[0.1, -0.3]])
    encoded = AnnealedPositionalEncoding(2, 2)(point)[0]
    expected = [*point[0]]
    for octave in (1.0, 2.0):
        expected += [math.sin(math.pi * octave * x) for x in point[0].tolist()]
        expected += [math.cos(math.pi * octave * x) for x in point[0].tolist()]
    assert torch.allclose(encoded, torch.tensor(expected), atol=1e-6)


def test_identity_is_never_damped() -> None:
    encoding = AnnealedPositionalEncoding(3, 6)
    point = torch.rand(4, 3)
    encoded = encoding(point, annealing_window(0.0, 6))
    assert encoding.out_dim == 39
    assert torch.equal(encoded[:, :3], point) and not encoded[:, 3:].any()


def test_gradcheck() -> None:
    encoding = AnnealedPositionalEncoding(2, 3)
    point = torch.rand(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: encoding(x, annealing_window(0.7, 3)), (point,), atol=1e-6)
