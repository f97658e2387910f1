"""Files that belong to the frames of a recording: called like them, or one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data import validation
from nf_plugins.data.monocular_files import FlowFiles
from nf_plugins.data.optical_flow_files import SUFFIXES
from nf_plugins.data.processing.photographs import ImageFolder
from nf_plugins.errors import InputError

EXPECTED_FLOW = f"<frame>_fwd and <frame>_bwd for every frame and its neighbours ({', '.join(SUFFIXES)})"
WORDS = {"fwd": "forward", "bwd": "backward"}
STEPS = {"fwd": 1, "bwd": -1}
COUNTED_FROM = (0, 1)
"""Where files of the chosen frames alone may begin to count."""


class FlowName(NamedTuple):
    """What the name of a file of flow says."""

    frame: str
    """What the frame is called."""
    direction: str
    """fwd or bwd."""

    @property
    def digits(self) -> re.Match[str] | None:
        """The last number in the frame's name."""
        return re.search(r"\d+(?=\D*$)", self.frame)

    @property
    def number(self) -> int:
        """The same, -1 where there is none."""
        return -1 if self.digits is None else int(self.digits.group())

    def of_number(self, number: int) -> str:
        """What another frame is called in the same way."""
        if self.digits is None:
            return str(number)
        begin, end = self.digits.span()
        return f"{self.frame[:begin]}{number:0{end - begin}d}{self.frame[end:]}"


def find_frame_files(
    folder: Path, *, names: Sequence[str], total: int, places: Sequence[int], suffixes: Sequence[str], expected: str
) -> list[Path]:
    """The file of every chosen frame: called like it, else by order, as many as all frames or as the chosen ones.

    Args:
        folder: Of the files.
        names: Of the chosen frames' images; empty strings where the frames have none.
        total: Number of all frames of the recording.
        places: Of the chosen ones among them.
        suffixes: Of files that count.
        expected: What messages say should be there.

    Raises:
        InputError: Neither fits.
    """
    files = _files_of(folder, suffixes, expected)
    by_name = ImageFolder(folder, {path.name: path for path in files})
    found = [by_name.find(name) if name else None for name in names]
    complete = [path for path in found if path is not None]
    if len(complete) == len(names) and len(set(complete)) == len(names):
        return complete
    if len(files) == total:
        return [files[place] for place in places]
    if len(files) == len(places):
        return files
    raise InputError(
        f"The folder {folder} holds {len(files)} files, but the recording has {total} frames, of which {len(places)} "
        f"are chosen, expected {expected}, called like the frames, or one for each in their order."
    )


def find_flow_files(folder: Path, *, names: Sequence[str], places: Sequence[int]) -> FlowFiles:
    """The flow of every chosen frame to the chosen frames before and after it.

    Files are called ``<frame>_fwd`` and ``<frame>_bwd``. A frame is called like its image, or by its number: counted
    one after the other if the files are of as many frames as the recording has, else from 0 in the recording, else
    from the first chosen frame if they are of as many as are chosen.

    Args:
        folder: Of the files.
        names: Of the images of all frames of the recording; empty strings where they have none.
        places: Of the chosen frames among them, one after the other.

    Raises:
        InputError: A file is missing, two are of the same flow, or it cannot be told which frames they are of.
    """
    files = _flow_of_folder(folder)
    if not files:
        raise InputError(f"The folder {folder} holds no flow, expected {EXPECTED_FLOW}.")
    place_of = {Path(name).stem: place for place, name in enumerate(names) if name}
    example = next(iter(files))
    if all(name.frame in place_of for name in files):
        placed = {(place_of[name.frame], name.direction): path for name, path in files.items()}
        called = [Path(name).stem for name in names]
    else:
        numbered = _by_number(files, folder)
        first = _first_place(set(numbered), folder, len(names), places)
        placed = {(number - first, direction): path for (number, direction), path in numbered.items()}
        called = [example.of_number(place + first) for place in range(len(names))]
    needed = [*((place, "fwd") for place in places[:-1]), *((place, "bwd") for place in places[1:])]
    for place, direction in needed:
        if (place, direction) not in placed:
            image = f" ({names[place]})" if names[place] else ""
            raise InputError(
                f"{folder} holds no {called[place]}_{direction}{files[example].suffix}, the {WORDS[direction]} flow "
                f"from frame {place}{image} to frame {place + STEPS[direction]}, expected both directions for all "
                "neighbours: give it, or choose another --flow-backend and leave --flow-folder out."
            )
    found = [placed[one] for one in needed]
    return FlowFiles([*found[: len(places) - 1], None], [None, *found[len(places) - 1 :]])


def _by_number(files: dict[FlowName, Path], folder: Path) -> dict[tuple[int, str], Path]:
    """Files by the number in their names and direction.

    Raises:
        InputError: A file has none, or that of another one.
    """
    numbered: dict[tuple[int, str], Path] = {}
    for name, path in files.items():
        if numbered.setdefault((name.number, name.direction), path) != path or name.digits is None:
            raise InputError(
                f"It cannot be told which frame {path} is of: not all files of {folder} are called like the frames, "
                f"and the last number of its name is none or another one's, too; expected {EXPECTED_FLOW}, <frame> "
                "being the image's name without suffix, or a number."
            )
    return numbered


def _first_place(counted: set[tuple[int, str]], folder: Path, total: int, places: Sequence[int]) -> int:
    """What the number of the recording's frame 0 is in the names of files."""
    numbers = [number for number, _ in counted]
    # The frames that files are of; and those that they join, where the file of an end is missing.
    joined = [number + step for number, direction in counted for step in (0, STEPS[direction])]
    ranges = [(min(frames), max(frames)) for frames in (numbers, joined)]
    for first, last in ranges:
        if last - first + 1 == total:
            return first
    if max(numbers) < total and all((place, "fwd") in counted for place in places[:-1]):
        return 0
    for first, last in ranges:
        if last - first + 1 == len(places) and first in COUNTED_FROM:
            if first != places[0]:
                CONSOLE.print(
                    f"Flow of {folder} counts the chosen frames: frame {places[0]} is its {first}.", soft_wrap=True
                )
            return first - places[0]
    if max(numbers) >= total:
        first, last = ranges[0]
        raise InputError(
            f"{folder} holds flow of {last - first + 1} frames, {first} to {last}, but the recording has {total}, of "
            f"which {len(places)} are chosen, expected flow between the frames of one of these, in their order."
        )
    return 0


def _flow_of_folder(folder: Path) -> dict[FlowName, Path]:
    """Files by what their names say; of several formats of one flow the first in the order of ``SUFFIXES``."""
    files = sorted(
        _files_of(folder, SUFFIXES, EXPECTED_FLOW), key=lambda path: SUFFIXES.index(path.suffix.lower()), reverse=True
    )
    parts = {path: path.stem.rpartition("_") for path in files}
    found = {FlowName(frame, direction): path for path, (frame, _, direction) in parts.items() if direction in WORDS}
    return dict(sorted(found.items(), key=lambda item: validation.natural_key(item[1].name)))


def _files_of(folder: Path, suffixes: Sequence[str], expected: str) -> list[Path]:
    """In natural order of their names."""
    validation.require_folder(folder, expected)
    return sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")),
        key=lambda path: validation.natural_key(path.name),
    )
