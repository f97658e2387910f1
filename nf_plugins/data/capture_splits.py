"""Which images train and which evaluate: by lists in the file, by held-out cameras, or by nerfstudio's rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nf_plugins.data.frame_timeline import PhysicalCameras
from nf_plugins.data.selection import choose_cameras
from nf_plugins.errors import InputError

EvalMode = Literal["auto", "lists", "cameras", "fraction", "filename", "interval", "all"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitRule:
    """How a capture is split."""

    mode: EvalMode = "auto"
    """"auto": the file's lists where it has them, else a held-out camera where three or more took images at the same
    times, else every n-th image."""
    train_cameras: tuple[str, ...] = ()
    eval_cameras: tuple[str, ...] = ()
    train_fraction: float = 0.9
    interval: int = 8


@dataclass(frozen=True)
class Split:
    """Indices of the images of every split, in the file's order, and how they were chosen."""

    train: list[int]
    val: list[int]
    test: list[int]
    note: str


def split_images(
    rule: SplitRule,
    files: Sequence[Path],
    *,
    lists: dict[str, list[Path]],
    cameras: PhysicalCameras,
    is_synchronised: bool,
    where: Path,
) -> Split:
    """Applies a rule.

    Args:
        files: The image of every frame.
        lists: The images that the file lists for some of "train", "val" and "test"; empty where it lists none.
        cameras: Which camera took which image.
        is_synchronised: Whether some time has images of several cameras.
        where: The JSON file.

    Raises:
        InputError: A name is unknown, or a split would be empty.
    """
    mode = rule.mode
    if rule.train_cameras or rule.eval_cameras:
        if mode not in ("auto", "cameras"):
            raise InputError(f"--eval-mode {mode} does not go with --train-cameras or --eval-cameras: give one.")
        mode = "cameras"
    if mode == "auto":
        mode = "lists" if lists else "cameras" if is_synchronised and len(cameras.names) > 2 else "interval"
    if mode == "lists":
        split = _by_lists(files, lists, where)
    elif mode == "cameras":
        split = _by_cameras(rule, cameras, where)
    else:
        split = _by_rank(rule, mode, files, where)
    for name in SPLITS:
        if not getattr(split, name):
            raise InputError(
                f"The {name} split of {where} has no images with --eval-mode {mode}, expected at least one: change "
                "--eval-mode, or --train-split-fraction, --eval-interval, --train-cameras, --eval-cameras with it."
            )
    return split


def _by_lists(files: Sequence[Path], lists: dict[str, list[Path]], where: Path) -> Split:
    if not lists:
        raise InputError(
            f"{where} has no train_filenames, val_filenames or test_filenames, expected them with --eval-mode lists."
        )
    position = {path: index for index, path in enumerate(files)}
    listed = {split: sorted(position[path] for path in paths) for split, paths in lists.items()}
    evaluation = set(listed.get("val", [])) | set(listed.get("test", []))
    train = listed.get("train", [index for index in range(len(files)) if index not in evaluation])
    val = listed.get("val", listed.get("test", []))
    test = listed.get("test", listed.get("val", []))
    return Split(train, val, test, f"split as {where.name} lists it")


def _by_cameras(rule: SplitRule, cameras: PhysicalCameras, where: Path) -> Split:
    train, evaluation, note = choose_cameras(cameras.names, rule.train_cameras, rule.eval_cameras, where)

    def images_of(names: list[str]) -> list[int]:
        wanted = [cameras.names.index(name) for name in names]
        return np.flatnonzero(np.isin(cameras.ids, wanted)).tolist()

    held_out = images_of(evaluation)
    return Split(images_of(train), held_out, held_out, note)


def _by_rank(rule: SplitRule, mode: str, files: Sequence[Path], where: Path) -> Split:
    """nerfstudio's rules, on the images in order of their names as nerfstudio takes them."""
    order = sorted(range(len(files)), key=lambda index: files[index])
    ranks = np.arange(len(files))
    if mode == "fraction":
        if not 0 < rule.train_fraction <= 1:
            raise InputError(f"--train-split-fraction is {rule.train_fraction:g}, expected a number in (0, 1].")
        number = math.ceil(len(files) * rule.train_fraction)
        is_train = np.isin(ranks, np.linspace(0, len(files) - 1, number, dtype=int))
        note = f"{1 - rule.train_fraction:.0%} of the images, evenly spread, are held out of training for evaluation"
    elif mode == "interval":
        if rule.interval < 2:
            raise InputError(f"--eval-interval is {rule.interval}, expected at least 2.")
        is_train = ranks % rule.interval != 0
        note = f"every image whose number is a multiple of {rule.interval} is held out of training for evaluation"
    elif mode == "filename":
        names = [files[index].name for index in order]
        strange = [name for name in names if "train" not in name and "eval" not in name]
        if strange:
            raise InputError(
                f"{where} names {strange[0]}, expected 'train' or 'eval' in every file's name with --eval-mode "
                "filename."
            )
        is_train = np.array(["train" in name for name in names])
        note = "split by 'train' and 'eval' in the files' names"
    else:
        is_train = np.ones(len(files), dtype=bool)
        note = "evaluated on the training images: the numbers flatter"
    train = sorted(order[rank] for rank in np.flatnonzero(is_train))
    held_out = train if mode == "all" else sorted(order[rank] for rank in np.flatnonzero(~is_train))
    return Split(train, held_out, held_out, note)
