"""Patches in which most happens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nf_plugins.errors import InputError
from nf_plugins.evaluation.dynamic_patches import (
    DynamicPatches,
    cut_patches,
    find_dynamic_patches,
    read_patches,
    write_patches,
)


def video(places: list[tuple[int, int]], num_frames: int, side: int = 8) -> list[torch.Tensor]:
    """A still picture in which squares at some places darken over time, the first most."""
    still = torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.8
    frames = []
    for frame in range(num_frames):
        image = still.clone()
        for rank, (row, column) in enumerate(places):
            image[row : row + side, column : column + side] -= 0.5 / (rank + 1) * (frame % 4 > 0)
        frames.append(image)
    return frames


def test_patches_find_what_moves_in_order_and_do_not_overlap() -> None:
    places = [(3, 5), (20, 40), (25, 11), (30, 22)]
    found = find_dynamic_patches(video(places, 4), patch_size=8, num_patches=4, window=4)
    assert found.coords == [places]
    more = find_dynamic_patches(video(places[:1], 4), patch_size=8, num_patches=6, window=4).coords[0]
    assert more[0] == places[0]
    for index, (row, column) in enumerate(more):
        for other_row, other_column in more[:index]:
            assert abs(row - other_row) >= 8 or abs(column - other_column) >= 8


def test_every_window_has_its_own() -> None:
    frames = video([(3, 5)], 4) + video([(25, 11)], 4) + video([(10, 30)], 1)
    found = find_dynamic_patches(frames, patch_size=8, num_patches=1, window=4)
    assert found.coords == [[(3, 5)], [(25, 11)]]  # a window of one frame shows no motion
    assert found.of_frame(3) == [(3, 5)] and found.of_frame(4) == [(25, 11)] == found.of_frame(8)


def test_patches_that_do_not_fit() -> None:
    assert len(find_dynamic_patches(video([], 2), patch_size=30, num_patches=4).coords[0]) == 2
    with pytest.raises(InputError, match="Patches of 64 pixels do not fit into images of 60x40"):
        find_dynamic_patches(video([], 2), patch_size=64)
    with pytest.raises(InputError, match="no frames"):
        find_dynamic_patches([])


def test_a_file_is_read_as_it_was_written_and_published_ones_too(tmp_path: Path) -> None:
    patches = DynamicPatches([[(3, 5), (20, 40)], [(1, 2), (9, 30)]], 8, 4)
    write_patches(tmp_path / "new.json", patches)
    assert read_patches(tmp_path / "new.json", (40, 60)) == patches
    (tmp_path / "published.json").write_text('{"coords": [[3, 5], [20, 40]], "patch_size": 8}')
    assert read_patches(tmp_path / "published.json", (40, 60)) == DynamicPatches([[(3, 5), (20, 40)]], 8, 30)
    with pytest.raises(InputError, match="reach beyond the images of 44x40"):
        read_patches(tmp_path / "new.json", (40, 44))
    for content in ('{"coords": []}', '{"coords": [[1, 2, 3]], "patch_size": 8}', "[]"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match=r"bad\.json holds no patches"):
            read_patches(tmp_path / "bad.json", (40, 60))


def test_patches_are_cut_where_they_are() -> None:
    image = torch.arange(24.0).reshape(4, 6, 1)
    first, second = cut_patches(image, [(0, 0), (2, 3)], 2)
    assert first.flatten().tolist() == [0, 1, 6, 7] and second.flatten().tolist() == [15, 16, 21, 22]
