"""A scene's folder appears whole or not at all, and a repeated request is recognised."""

from __future__ import annotations

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
    deletes other data.
    """
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
    folder = folder.absolute()
    check_target(folder, overwrite)
    staging = folder.parent / f".{folder.name}.writing-{os.getpid()}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(folder)
        staging.mkdir()
    except OSError as error:
        raise InputError(
            f"--output-dir {folder}: cannot create a folder in {folder.parent} ({error.strerror}); "
            "choose a place that you may write to."
        ) from error
    try:
        yield staging
        content = {"request": request, **(facts or {})}
        (staging / REQUEST_FILE).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        put_in_place(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def put_in_place(staging: Path, folder: Path) -> None:
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
    shutil.rmtree(old)


def remove_abandoned(folder: Path) -> None:
    """Delete temporary siblings whose process is gone (killed in the middle of writing)."""
    for left in folder.parent.glob(f".{folder.name}.writing-*"):
        process = left.name.rpartition("-")[2]
        if process.isdigit() and (int(process) == os.getpid() or not _is_running(int(process))):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
