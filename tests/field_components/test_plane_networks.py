"""Networks on top of feature planes, and what directions become."""

import torch

from nf_plugins.field_components.colour_basis import ColourBasis
from nf_plugins.field_components.direction_encoding import DirectionEncoding
from nf_plugins.field_components.late_skip_mlp import LateSkipMLP


def test_published_direction_encoding() -> None:
    published = [0.1, 0.2, 0.3, 0.099833, 0.198669, 0.295520, 0.995004, 0.980067, 0.955336]
    encoding = DirectionEncoding(1)
    assert torch.allclose(encoding(torch.tensor([0.1, 0.2, 0.3])), torch.tensor(published), atol=1e-6)
    assert encoding.out_dim == 9
    twice = DirectionEncoding(2)(torch.tensor([0.1, 0.2, 0.3]))
    assert torch.allclose(twice[9:12], torch.sin(torch.tensor([0.2, 0.4, 0.6])))


def test_the_last_hidden_layer_sees_the_input_again() -> None:
    network = LateSkipMLP(5, width=8)
    assert [layer.in_features for layer in network.hidden] == [5, 8, 8, 8, 8, 13]
    features = torch.rand(3, 5)
    with torch.no_grad():
        network.hidden[0].weight.zero_()
        assert not torch.allclose(network(features), network(features + 1))
        network.hidden[-1].weight[:, 8:].zero_()
        assert torch.equal(network(features), network(features + 1))
    assert network.trunk(features).shape == (3, 8) and bool((network.trunk(features) >= 0).all())


def test_a_single_hidden_layer_sees_the_input_once() -> None:
    network = LateSkipMLP(5, width=8, num_hidden=1, out_dim=2)
    assert sum(parameter.numel() for parameter in network.parameters()) == 5 * 8 + 8 + 8 * 2 + 2
    assert network(torch.rand(3, 5)).shape == (3, 2)


def test_a_basis_is_linear_in_its_coordinates_before_the_sigmoid() -> None:
    basis, directions = ColourBasis(6, width=16), torch.nn.functional.normalize(torch.randn(4, 3), dim=-1)
    first, second = torch.randn(4, 6), torch.randn(4, 6)
    total = torch.logit(basis(first, directions)) + torch.logit(basis(second, directions))
    assert torch.allclose(torch.logit(basis(first + second, directions)), total, atol=1e-4)
