"""Camera files of the IDR and NeuS family: projection matrices and the scene's normalisation in one ``.npz``.

``world_mat_i`` (4, 4) takes world points to pixels of image i, ``scale_mat_i`` (4, 4) the normalised scene, in which
the subject fits the unit sphere, to the world; it is one similarity for the whole scene. What a pixel's coordinates
mean is up to the layout that has the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import ProjectionDecomposition, decompose_projection, require_finite_matrix
from nf_plugins.errors import InputError


class ProjectionArchive(NamedTuple):
    """The matrices of a camera file, image by image."""

    path: Path
    world_mats: list[NDArray[np.float64]]
    """(4, 4) each: world to pixels."""
    scale_mats: list[NDArray[np.float64]]
    """(4, 4) each: scene to world."""

    def decompose(self, index: int, scale_mat: NDArray[np.float64] | None = None) -> ProjectionDecomposition:
        """Calibration and pose of image ``index`` in scene units.

        Args:
            index: Of the image.
            scale_mat: Another scene's scale matrix; None takes the file's own.

        Raises:
            InputError: The matrices make no camera.
        """
        name = f"world_mat_{index} @ scale_mat_{index} of {self.path}"
        scale_mat = self.scale_mats[index] if scale_mat is None else scale_mat
        return decompose_projection((self.world_mats[index] @ scale_mat)[:3], name)


def read_projection_archive(path: Path, images: Path, num_images: int) -> ProjectionArchive:
    """Reads the camera file of a folder of images.

    Args:
        path: The ``.npz`` file.
        images: The folder, for messages.
        num_images: How many images lie in it.

    Raises:
        InputError: The file or a matrix is missing, or their number is not that of the images.
    """
    matrices = validation.read_npz(path, "world_mat_i and scale_mat_i for every image i")
    numbers = {int(key[len("world_mat_") :]) for key in matrices if re.fullmatch(r"world_mat_\d+", key)}
    if not numbers:
        raise InputError(
            f"{path} has no world_mat_0, but {_in_words(matrices)}; expected world_mat_i and scale_mat_i, (4, 4) each, "
            f"for each of the {num_images} images: write the camera file anew."
        )
    # With one missing in the middle the number would be the lesser half of the news.
    if numbers == set(range(len(numbers))):
        validation.require_equal_counts(
            f"{images} (images)",
            num_images,
            f"{path} (world_mat_i)",
            len(numbers),
            "give every image its camera, and remove images or cameras that are left over.",
        )
    stacks: dict[str, list[NDArray[np.float64]]] = {"world_mat": [], "scale_mat": []}
    for kind, stack in stacks.items():
        for index in range(num_images):
            key = f"{kind}_{index}"
            if key not in matrices:
                raise InputError(
                    f"{path} has no {key}, expected world_mat_i and scale_mat_i for each of the {num_images} images: "
                    "write the camera file anew."
                )
            stack.append(require_finite_matrix(matrices[key], (4, 4), f"{key} of {path}"))
    return ProjectionArchive(path, stacks["world_mat"], stacks["scale_mat"])


def compose_world_mat(
    intrinsics: NDArray[np.float64], camera_to_world: NDArray[np.float64], world_from_scene: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``world_mat`` (4, 4) of a camera: world points to pixels.

    Args:
        intrinsics: (3, 3) calibration in pixels, counted as the layout counts them.
        camera_to_world: (3 or 4, 4) pose in scene units, OpenCV axes.
        world_from_scene: (4, 4) uniform scale and translation, the layout's ``scale_mat``.
    """
    world_to_camera = np.eye(4)
    rotation = camera_to_world[:3, :3].T
    position = world_from_scene[0, 0] * camera_to_world[:3, 3] + world_from_scene[:3, 3]
    world_to_camera[:3, :3] = rotation
    world_to_camera[:3, 3] = -rotation @ position
    calibration = np.eye(4)
    calibration[:3, :3] = intrinsics
    return calibration @ world_to_camera


def common_scale_mat(archives: Sequence[tuple[ProjectionArchive, Sequence[int]]]) -> NDArray[np.float64]:
    """The scale matrix (4, 4) that images of one or more archives share: another one would be another scene frame.

    Args:
        archives: Each with the images that are used of it; the first gives the matrix.

    Raises:
        InputError: It is no similarity, or another image's differs from it.
    """
    first, indices = archives[0]
    reference = first.scale_mats[indices[0]]
    name = f"scale_mat_{indices[0]} of {first.path}"
    _require_similarity(reference, name)
    for archive, used in archives:
        for index in used:
            if not np.allclose(archive.scale_mats[index], reference, rtol=1e-3, atol=1e-4):
                raise InputError(
                    f"scale_mat_{index} of {archive.path} differs from {name}, expected one for all images of the "
                    "scene: normalise it once."
                )
    return reference


def _require_similarity(matrix: NDArray[np.float64], name: str) -> None:
    linear = matrix[:3, :3]
    determinant = float(np.linalg.det(linear))
    if determinant <= 0:
        raise InputError(
            f"{name} is singular or a reflection (its determinant is {determinant:.4g}), expected a scale and a "
            "translation: normalise the scene anew."
        )
    scale = np.cbrt(determinant)
    if np.abs(linear.T @ linear / scale**2 - np.eye(3)).max() > 1e-3 or np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InputError(
            f"{name} scales the axes differently, shears or projects, expected one scale and a translation: normalise "
            "the scene anew."
        )


def _in_words(matrices: dict[str, NDArray]) -> str:
    """What is in an archive that has not what was expected."""
    if not matrices:
        return "nothing at all"
    shown = [f"{key} of the shape {np.shape(matrix)}" for key, matrix in list(matrices.items())[:3]]
    return ", ".join(shown) + (", ..." if len(matrices) > 3 else "")
