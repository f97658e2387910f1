"""Which files belong to which frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from nf_plugins.data.processing.frame_files import find_flow_files, find_frame_files
from nf_plugins.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def flow_names(frames: range, prefix: str = "", suffix: str = ".flo") -> list[str]:
    forward = [f"{prefix}{frame:03d}_fwd{suffix}" for frame in frames[:-1]]
    return forward + [f"{prefix}{frame:03d}_bwd{suffix}" for frame in frames[1:]]


def flow_of(folder: Path, names: list[str], places: range) -> list[list[str | None]]:
    """Names of the files found, forward and backward."""
    files = find_flow_files(folder, names=names, places=places)
    return [[path and path.name for path in direction] for direction in files]


def test_files_belong_to_frames_by_name_or_by_order(tmp_path: Path):
    touch(tmp_path, "b_2.npy", "b_10.npy", "a_1.png", "notes.txt")

    def find(names: list[str], total: int, places: list[int]) -> list[str]:
        found = find_frame_files(
            tmp_path, names=names, total=total, places=places, suffixes=(".npy", ".png"), expected="depth maps"
        )
        return [path.name for path in found]

    assert find(["b_10.jpg", "a_1.jpg"], 7, [3, 4]) == ["b_10.npy", "a_1.png"]
    assert find(["", ""], 3, [0, 2]) == ["a_1.png", "b_10.npy"]
    assert find(["x", "y", "z"], 9, [4, 5, 6]) == ["a_1.png", "b_2.npy", "b_10.npy"]
    with pytest.raises(InputError, match="holds 3 files, but the recording has 9 frames, of which 2 are chosen"):
        find(["x", "y"], 9, [4, 5])


def test_flow_is_called_like_the_images(tmp_path: Path):
    names = ["b_7.png", "b_9.png", "c.png", "a_1.png"]
    touch(tmp_path, "b_9_fwd.npz", "b_9_fwd.png", "c_fwd.npy", "c_bwd.flo", "a_1_bwd.FLO", "preview.png")
    # A picture of the same name is not taken for the flow.
    assert flow_of(tmp_path, names, range(1, 4)) == [
        ["b_9_fwd.npz", "c_fwd.npy", None],
        [None, "c_bwd.flo", "a_1_bwd.FLO"],
    ]
    with pytest.raises(
        InputError, match=r"holds no b_7_fwd\.\w+, the forward flow from frame 0 \(b_7.png\) to frame 1"
    ):
        flow_of(tmp_path, names, range(4))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (range(6), ["002_fwd.flo", "003_fwd.flo"]),  # as many as the recording has
        (range(1, 7), ["003_fwd.flo", "004_fwd.flo"]),
        (range(1, 5), ["002_fwd.flo", "003_fwd.flo"]),  # part of the recording, counted from its frame 0
        (range(3), ["000_fwd.flo", "001_fwd.flo"]),  # the chosen frames
        (range(1, 4), ["001_fwd.flo", "002_fwd.flo"]),
    ],
)
def test_flow_is_counted(tmp_path: Path, frames: range, expected: list[str]):
    touch(tmp_path, *flow_names(frames))
    forward, backward = flow_of(tmp_path, [""] * 6, range(2, 5))
    assert forward == [*expected, None]
    numbers = [int(name[:3]) + 1 for name in expected]
    assert backward == [None, *(f"{number:03d}_bwd.flo" for number in numbers)]


def test_files_of_the_ends_do_no_harm(tmp_path: Path):
    touch(tmp_path, *flow_names(range(4)), "000_bwd.flo", "003_fwd.flo")
    assert flow_of(tmp_path, [""] * 4, range(4))[1] == [None, "001_bwd.flo", "002_bwd.flo", "003_bwd.flo"]


@pytest.mark.parametrize(
    "lost", ["frame_000_fwd.flo", "frame_002_fwd.flo", "frame_001_bwd.flo", "frame_003_bwd.flo"]
)  # fmt: skip
def test_a_missing_direction_is_named_with_the_ways_out(tmp_path: Path, lost: str):
    touch(tmp_path, *flow_names(range(4), "frame_"))
    (tmp_path / lost).unlink()
    word = "forward" if "fwd" in lost else "backward"
    message = rf"holds no {lost}, the {word} flow from .*: give it, or choose another --flow-backend and leave"
    with pytest.raises(InputError, match=message):
        flow_of(tmp_path, [""] * 4, range(4))
    # Others than the chosen frames may be without.
    if lost == "frame_003_bwd.flo":
        assert flow_of(tmp_path, [""] * 4, range(3))[0] == ["frame_000_fwd.flo", "frame_001_fwd.flo", None]


def test_one_direction_alone_is_not_enough(tmp_path: Path):
    touch(tmp_path, *(name for name in flow_names(range(4)) if "fwd" in name))
    with pytest.raises(InputError, match=r"holds no 001_bwd.flo, the backward flow from frame 1 \(b.png\) to frame 0"):
        flow_of(tmp_path, ["a.png", "b.png", "c.png", "d.png"], range(4))


def test_flow_of_other_frames_is_refused(tmp_path: Path):
    touch(tmp_path, *flow_names(range(9)))
    with pytest.raises(InputError, match="holds flow of 9 frames, 0 to 8, but the recording has 6, of which 3 are"):
        flow_of(tmp_path, [""] * 6, range(2, 5))
    # As many as are chosen, but later ones.
    later = tmp_path / "later"
    later.mkdir()
    touch(later, *flow_names(range(5, 8)))
    with pytest.raises(InputError, match=r"holds no 002_fwd.flo, the forward flow from frame 2 to"):
        flow_of(later, [""] * 10, range(2, 5))
    # An image was taken away that flow leads to.
    images = [f"{number:03d}.png" for number in (0, 1, 3, 4, 5, 6, 7, 8)]
    with pytest.raises(InputError, match="holds flow of 9 frames"):
        flow_of(tmp_path, images, range(8))


def test_names_without_meaning_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="is empty, expected <frame>_fwd and <frame>_bwd"):
        flow_of(tmp_path, ["", "", ""], range(3))
    touch(tmp_path, "forward_000.flo")
    with pytest.raises(InputError, match="holds no flow, expected <frame>_fwd and <frame>_bwd"):
        flow_of(tmp_path, ["", "", ""], range(3))
    touch(tmp_path, "left_0_fwd.flo", "right_0_fwd.flo")
    with pytest.raises(InputError, match=r"which frame .*right_0_fwd\.flo is of"):
        flow_of(tmp_path, ["", "", ""], range(3))
