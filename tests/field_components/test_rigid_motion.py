"""Exponential maps of SO(3) and SE(3): group axioms, small angles, derivatives."""

import math

import pytest
import torch

from nf_plugins.field_components import rigid_motion


def random_vectors(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def twist_matrix(rotation_vector: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    twist = torch.zeros(len(rotation_vector), 4, 4, dtype=rotation_vector.dtype)
    twist[:, :3, :3] = rigid_motion.skew_matrix(rotation_vector)
    twist[:, :3, 3] = translation
    return twist


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.0099, 0.0101, 1.0, 3.0, math.pi, 9.0])
def test_agrees_with_the_matrix_exponential_at_every_size_of_angle(angle: float) -> None:
    rotation_vector = torch.nn.functional.normalize(random_vectors(20), dim=-1) * angle
    translation = random_vectors(20) * 0.7
    expected = torch.linalg.matrix_exp(twist_matrix(rotation_vector, translation))
    torch.testing.assert_close(
        rigid_motion.transform_matrix(rotation_vector, translation), expected, atol=1e-12, rtol=0
    )


def test_rotations_are_orthogonal_with_determinant_one() -> None:
    rotation = rigid_motion.rotation_matrix(random_vectors(50) * 2)
    identity = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))


def test_the_opposite_twist_is_the_inverse() -> None:
    rotation_vector, translation, points = random_vectors(30), random_vectors(30), random_vectors(30) + 1
    moved = rigid_motion.transform(rotation_vector, translation, points)
    torch.testing.assert_close(rigid_motion.transform(-rotation_vector, -translation, moved), points)


def test_multiples_of_one_twist_compose_by_addition() -> None:
    rotation_vector, translation = random_vectors(10), random_vectors(10).flip(0)
    whole = rigid_motion.transform_matrix(rotation_vector, translation)
    part = rigid_motion.transform_matrix(0.3 * rotation_vector, 0.3 * translation)
    rest = rigid_motion.transform_matrix(0.7 * rotation_vector, 0.7 * translation)
    torch.testing.assert_close(part @ rest, whole)


def test_points_move_as_the_matrices_say() -> None:
    rotation_vector, translation, points = random_vectors(10), random_vectors(10).flip(0), random_vectors(10) * 3
    matrix = rigid_motion.transform_matrix(rotation_vector, translation)
    expected = (matrix[:, :3, :3] @ points[..., None])[..., 0] + matrix[:, :3, 3]
    torch.testing.assert_close(rigid_motion.transform(rotation_vector, translation, points), expected)


def test_rigid_motions_keep_distances() -> None:
    rotation_vector, translation = random_vectors(1).expand(20, 3), random_vectors(1).expand(20, 3)
    points = random_vectors(20)
    moved = rigid_motion.transform(rotation_vector, translation, points)
    torch.testing.assert_close(torch.cdist(moved, moved), torch.cdist(points, points))


def test_quarter_turn_about_z() -> None:
    moved = rigid_motion.rotate(torch.tensor([0.0, 0.0, math.pi / 2]), torch.tensor([1.0, 0.0, 2.0]))
    torch.testing.assert_close(moved, torch.tensor([0.0, 1.0, 2.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1.0])
def test_first_and_second_derivatives(scale: float) -> None:
    rotation_vector = (random_vectors(2) * scale).requires_grad_()
    translation, points = random_vectors(2).requires_grad_(), random_vectors(2).requires_grad_()
    arguments = (rotation_vector, translation, points)
    assert torch.autograd.gradcheck(rigid_motion.transform, arguments, eps=1e-4, atol=1e-6)
    assert torch.autograd.gradgradcheck(rigid_motion.transform, arguments, eps=1e-4, atol=1e-5)


def test_single_precision_stays_accurate_where_the_closed_form_cancels() -> None:
    rotation_vector = torch.tensor([[0.011, 0.0, 0.0]])
    translation = torch.tensor([[0.0, 1.0, 0.0]])
    exact = rigid_motion.screw_translation(rotation_vector.double(), translation.double())
    torch.testing.assert_close(
        rigid_motion.screw_translation(rotation_vector, translation), exact.float(), atol=1e-6, rtol=1e-5
    )
