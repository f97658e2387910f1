"""Encoded time, codes and ambient slicing."""

import pytest
import torch
from motion_helpers import context, grouped_points, perturb

from nf_plugins.field_components.frame_batch import FrameBatch
from nf_plugins.field_components.frame_codes import FrameCodes
from nf_plugins.field_components.hyper_coordinates import AmbientSlicing, CodeCoordinates, EncodedTime
from nf_plugins.field_components.motion_context import MotionContext


def test_encoded_time_follows_the_published_scale() -> None:
    encoded = EncodedTime(4, 1)(grouped_points(), context())
    times = torch.tensor([-1.0, -0.5, 0.0])
    expected = torch.stack([times, torch.sin(torch.pi * times), torch.cos(torch.pi * times)], dim=-1)
    torch.testing.assert_close(encoded, expected[:, None].expand(-1, 7, -1), atol=1e-6, rtol=0)


def test_codes_are_those_of_the_frames_and_blend_between() -> None:
    codes = FrameCodes(5, 8)
    frames = FrameBatch(torch.tensor([1, 3]), torch.tensor([1.0, 2.75]))
    expected = torch.stack([codes.weight[1], 0.25 * codes.weight[2] + 0.75 * codes.weight[3]])
    torch.testing.assert_close(codes(frames), expected)
    assert 0.8 < FrameCodes(200, 64).weight.std() < 1.2


def test_code_coordinates_are_the_code_at_every_point() -> None:
    frames = context()
    features = CodeCoordinates(8)(grouped_points(), frames)
    assert frames.codes is not None
    assert torch.equal(features, frames.codes[:, None].expand(3, 7, 8))


def test_ambient_coordinates_start_at_zero_and_then_depend_on_point_and_code() -> None:
    slicing = AmbientSlicing(8, hidden_dim=48)
    points, frames = grouped_points(), context()
    assert slicing.ambient_coordinates(points, frames).abs().max() < 1e-2
    perturb(slicing)
    ambient = slicing.ambient_coordinates(points, frames)
    assert ambient.std(dim=1).min() > 1e-3
    same_point = slicing.ambient_coordinates(points[:1].expand(3, -1, -1), frames)
    assert not torch.allclose(same_point[0], same_point[1])
    assert slicing.out_dim == 26 and slicing(points, frames).shape == (3, 7, 26)


def test_ambient_network_has_the_published_layers() -> None:
    sizes = [(layer.in_features, layer.out_features) for layer in AmbientSlicing().layers]
    assert sizes == [(103, 64), (64, 64), (64, 64), (64, 64), (64, 25), (64, 64), (64, 64), (64, 2)]


def test_codes_are_needed_where_they_are_used() -> None:
    without = MotionContext(FrameBatch.from_ids(torch.arange(3)), torch.ones(()))
    with pytest.raises(ValueError, match="FrameCodes"):
        CodeCoordinates(8)(grouped_points(), without)
