import torch

from nf_plugins.field_components.frame_times import frame_coordinates, frame_ids_from_times


def test_every_frame_time_maps_to_its_own_frame() -> None:
    frame_times = torch.tensor([0.0, 0.1, 0.35, 0.9, 1.0])
    assert frame_ids_from_times(frame_times, frame_times).tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(frame_coordinates(frame_times, frame_times), torch.arange(5.0))


def test_times_between_frames_go_to_the_nearest() -> None:
    frame_times = torch.tensor([0.0, 0.5, 1.0])
    times = torch.tensor([[-1.0, 0.24], [0.26, 0.76], [1.0, 7.0]])
    assert frame_ids_from_times(times, frame_times).tolist() == [[0, 0], [1, 2], [2, 2]]


def test_coordinates_are_linear_between_uneven_frames_and_clamped_outside() -> None:
    frame_times = torch.tensor([0.0, 0.2, 1.0])
    coordinates = frame_coordinates(torch.tensor([-0.5, 0.1, 0.6, 2.0]), frame_times)
    assert torch.allclose(coordinates, torch.tensor([0.0, 0.5, 1.5, 2.0]))


def test_float_times_of_many_frames_are_exact() -> None:
    frame_times = torch.linspace(0, 1, 997)
    assert torch.equal(frame_ids_from_times(frame_times, frame_times), torch.arange(997))


def test_a_single_frame_takes_every_time() -> None:
    frame_times = torch.tensor([0.3])
    assert frame_ids_from_times(torch.tensor([0.0, 1.0]), frame_times).tolist() == [0, 0]
    assert frame_coordinates(torch.tensor([0.0, 1.0]), frame_times).tolist() == [0.0, 0.0]
