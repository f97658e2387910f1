"""DeformingThings4D's .anime files: bytes, round trip, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from nf_plugins.data.anime import read_anime, write_anime
from nf_plugins.errors import InputError

FACES = np.array([[0, 1, 2], [0, 2, 3]])


def vertices(num_frames: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_frames, 4, 3))


def test_round_trip_to_single_precision(tmp_path: Path) -> None:
    write_anime(tmp_path / "a.anime", vertices(), FACES)
    anime = read_anime(tmp_path / "a.anime")
    assert anime.vertices.dtype == np.float32 and anime.faces.dtype == np.int32
    np.testing.assert_allclose(anime.vertices, vertices(), atol=1e-6)
    np.testing.assert_array_equal(anime.faces, FACES)
    write_anime(tmp_path / "b.anime", anime.vertices[:1], FACES)
    np.testing.assert_array_equal(read_anime(tmp_path / "b.anime").vertices, anime.vertices[:1])


def test_layout_is_counts_first_frame_faces_offsets(tmp_path: Path) -> None:
    """Written by hand, little-endian."""
    first = [0.0, 0, 0, 1, 0, 0, 0, 1, 0]
    offsets = [0.5, 0, 0] * 3
    content = struct.pack("<3i9f3i9f", 2, 3, 1, *first, 0, 1, 2, *offsets)
    (tmp_path / "hand.anime").write_bytes(content)
    anime = read_anime(tmp_path / "hand.anime")
    np.testing.assert_array_equal(anime.vertices[0], np.reshape(first, (3, 3)))
    np.testing.assert_array_equal(anime.vertices[1], np.reshape(first, (3, 3)) + [0.5, 0, 0])
    write_anime(tmp_path / "ours.anime", anime.vertices, anime.faces)
    assert (tmp_path / "ours.anime").read_bytes() == content


@pytest.mark.parametrize("kept", [0, 5, 12, 100, -4, -1])
def test_a_truncated_file_says_how_many_bytes_are_missing(tmp_path: Path, kept: int) -> None:
    write_anime(tmp_path / "a.anime", vertices(), FACES)
    whole = (tmp_path / "a.anime").read_bytes()
    part = whole[:kept]
    (tmp_path / "a.anime").write_bytes(part)
    missing = f"{12 - len(part)} are missing" if len(part) < 12 else f"{len(whole) - len(part)} of {len(whole)} bytes"
    with pytest.raises(InputError, match=rf"a\.anime is truncated.*{missing}"):
        read_anime(tmp_path / "a.anime")


def test_bytes_too_many_impossible_counts_and_wrong_faces_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.anime"
    write_anime(path, vertices(), FACES)
    whole = path.read_bytes()
    path.write_bytes(whole + b"123")
    with pytest.raises(InputError, match="3 bytes more than its 3 frames, 4 vertices and 2 faces"):
        read_anime(path)
    path.write_bytes(struct.pack("<3i", 0, 4, 2) + whole[12:])
    with pytest.raises(InputError, match="says it has 0 frames, 4 vertices and 2 faces"):
        read_anime(path)
    faces_at = 12 + 4 * 12
    path.write_bytes(whole[:faces_at] + struct.pack("<i", 7) + whole[faces_at + 4 :])
    with pytest.raises(InputError, match="face with vertex 7, expected 0 to 3"):
        read_anime(path)
    path.write_bytes(whole[:-4] + struct.pack("<f", np.nan))
    with pytest.raises(InputError, match="not finite numbers, the first in frame 2"):
        read_anime(path)
    with pytest.raises(InputError, match=r"gone\.anime does not exist"):
        read_anime(tmp_path / "gone.anime")


def test_nothing_is_written_of_what_is_no_moving_mesh(tmp_path: Path) -> None:
    for wrong in ((vertices()[0], FACES), (vertices(), FACES + 2), (vertices()[:0], FACES), (vertices(), FACES[:0])):
        with pytest.raises(InputError):
            write_anime(tmp_path / "a.anime", *wrong)
    assert not list(tmp_path.iterdir())
