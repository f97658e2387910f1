import torch
from nerfstudio.cameras.rays import RayBundle

from nf_plugins.model_components.occupied_sampler import OccupiedSampler, place_samples

NEAR, FAR = torch.tensor([[2.0]]), torch.tensor([[6.0]])


def test_known_places_across_a_gap() -> None:
    occupied = torch.tensor([[True, False, False, True]])
    distances, length = place_samples(occupied, NEAR, FAR, torch.full((1, 4), 0.5))
    assert torch.allclose(distances, torch.tensor([[2.25, 2.75, 5.25, 5.75]]))
    assert length.item() == 0.5


def test_all_occupied_is_plain_stratified_sampling() -> None:
    offsets = torch.rand(1, 8, generator=torch.Generator().manual_seed(0))
    distances, length = place_samples(torch.ones(1, 16, dtype=torch.bool), NEAR, FAR, offsets)
    assert torch.allclose(distances, 2 + (torch.arange(8) + offsets) * 0.5, atol=1e-5)
    assert length.item() == 0.5


def test_samples_are_ordered_and_stay_in_occupied_segments() -> None:
    generator = torch.Generator().manual_seed(1)
    occupied = torch.rand(200, 40, generator=generator) < 0.2
    occupied[:, 7] = True
    offsets = torch.rand(200, 24, generator=generator)
    distances, length = place_samples(occupied, NEAR.expand(200, 1), FAR.expand(200, 1), offsets)
    assert (distances.diff(dim=1) >= -1e-5).all()
    segment = ((distances - 2) / 0.1).floor().long().clamp(0, 39)
    near_edge = (((distances - 2) / 0.1) % 1 - 0.5).abs() > 0.499
    assert (occupied.gather(1, segment) | near_edge).all()
    assert torch.allclose(length[:, 0] * 24, occupied.sum(1) * 0.1, atol=1e-5)


def test_jitter_is_only_in_training_and_survives_an_evaluation() -> None:
    bundle = RayBundle(
        origins=torch.zeros(1, 3),
        directions=torch.tensor([[0.0, 0.0, 1.0]]),
        pixel_area=torch.ones(1, 1),
        nears=NEAR,
        fars=FAR,
        times=torch.tensor([[0.25]]),
    )
    occupied = torch.ones(1, 4, dtype=torch.bool)
    sampler = OccupiedSampler(num_samples=6)

    def depths() -> torch.Tensor:
        return sampler(bundle, occupied=occupied).frustums.get_positions()[0, :, 2]

    first, second = depths(), depths()
    assert not torch.equal(first, second)
    sampler.eval()
    assert torch.equal(depths(), depths())
    sampler.train()
    assert not torch.equal(depths(), depths())
    samples = sampler(bundle, occupied=occupied, num_samples=3)
    assert samples.shape == (1, 3) and samples.times is not None
    assert torch.allclose(samples.deltas, torch.full((1, 3, 1), 4 / 3))


def test_a_constant_density_has_its_closed_form_transmittance() -> None:
    """exp(-density * occupied length), whatever the samples."""
    occupied = torch.tensor([[True, True, False, True]])
    bundle = RayBundle(torch.zeros(1, 3), torch.tensor([[0.0, 0, 1]]), torch.ones(1, 1), nears=NEAR, fars=FAR)
    samples = OccupiedSampler(num_samples=7)(bundle, occupied=occupied)
    opacity = samples.get_weights(torch.full((1, 7, 1), 0.4)).sum()
    assert torch.allclose(opacity, 1 - torch.exp(torch.tensor(-0.4 * 3.0)))
