"""A scene's folder appears whole or not at all, and a repeated request is recognised."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nf_plugins.errors import InputError

REQUEST_FILE = "synth.json"
"""Written last into every scene: the request that made it, and facts about the scene."""


def read_request(folder: Path) -> dict[str, Any] | None:
    """The request that a scene folder was written for; None when it is not a scene of ours."""
    try:
        content = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("request") if isinstance(content, dict) else None


def check_target(folder: Path, overwrite: bool) -> None:
    """Raise InputError when a scene may not be written to ``folder``: it is a file, or holds something to be kept.

    Even with ``overwrite`` only folders are replaced that a scene of ours was written to: a mistyped path never
    deletes other data. What a killed process has left is cleared up first, see ``remove_abandoned``.
    """
    remove_abandoned(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder}: is a file; give the name of a new or empty folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if read_request(folder) is None:
        raise InputError(
            f"--output-dir {folder}: is not empty and holds no {REQUEST_FILE}, so it was not written by nf-synth and "
            "is left alone; give the name of a new or empty folder."
        )
    if not overwrite:
        raise InputError(
            f"--output-dir {folder}: already holds a scene made with other options (see its {REQUEST_FILE}); "
            "give another folder, or --overwrite to replace it."
        )


@contextmanager
def new_scene_folder(
    folder: Path, request: dict[str, Any], overwrite: bool = False, facts: dict[str, Any] | None = None
) -> Iterator[Path]:
    """Yields a temporary sibling of ``folder`` to write into; renamed to ``folder`` when the block ends without error.

    Args:
        request: every option that determines the scene, as plain JSON values; kept in ``synth.json``.
        overwrite: replace an earlier scene.
        facts: further JSON values for ``synth.json``; may be filled while the block runs.

    Raises:
        InputError: the target holds something to be kept, or cannot be written to. Nothing has been written then.
    """
    check_target(folder, overwrite)
    with whole_folder(folder) as staging:
        yield staging
        content = {"request": request, **(facts or {})}
        (staging / REQUEST_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary sibling of ``folder``; takes its place when the block ends without error, else is removed.

    Whoever calls it has checked that ``folder`` may be replaced.

    Raises:
        InputError: No folder can be made there.
    """
    folder = folder.absolute()
    staging = folder.parent / f".{folder.name}.writing-{os.getpid()}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        staging.mkdir()
    except OSError as error:
        raise InputError(
            f"--output-dir {folder}: cannot create a folder in {folder.parent} ({error.strerror}), expected a place "
            "that you may write to."
        ) from error
    try:
        yield staging
        _put_in_place(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _put_in_place(staging: Path, folder: Path) -> None:
    """Rename ``staging`` to ``folder``; what lay there is removed afterwards, or stays when renaming fails."""
    if not folder.exists():
        os.replace(staging, folder)
        return
    old = folder.parent / f".{folder.name}.old-{os.getpid()}"
    os.replace(folder, old)
    try:
        os.replace(staging, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    # Under the name of what may be deleted: a folder that is called old is whole.
    os.replace(old, staging)
    shutil.rmtree(staging)


def remove_abandoned(folder: Path) -> None:
    """Clear up temporary siblings whose process is gone.

    What it was writing is deleted. Where it was killed after it had put the earlier folder aside and before the new one
    was in its place, the earlier one is put back.
    """
    folder = folder.absolute()
    for old in _abandoned(folder, "old"):
        if not folder.exists():
            with contextlib.suppress(OSError):  # not ours to write: then the next that needs to write says so
                os.replace(old, folder)
        else:
            shutil.rmtree(old, ignore_errors=True)
    for left in _abandoned(folder, "writing"):
        shutil.rmtree(left, ignore_errors=True)


def _abandoned(folder: Path, kind: str) -> list[Path]:
    found = []
    for left in sorted(folder.parent.glob(f".{glob.escape(folder.name)}.{kind}-*")):
        process = left.name.rpartition("-")[2]
        if process.isdigit() and (int(process) == os.getpid() or not _is_running(int(process))):
            found.append(left)
    return found


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
