"""The folder that a processed capture appears in, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nf_plugins.data.writers.scene_folder import remove_abandoned, whole_folder
from nf_plugins.errors import InputError

RECORD_FILE = "process_data.json"
"""Written last into every capture: the command's options, and what it found out."""


def check_output_folder(folder: Path, overwrite: bool) -> None:
    """Raise InputError when a capture may not be written to ``folder``.

    Even with ``overwrite`` only folders are replaced that nf-process-data wrote: a mistyped path never deletes other
    data. What a killed process has left is cleared up first, see ``remove_abandoned``.
    """
    remove_abandoned(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output-dir {folder} is a file, expected the name of a new or empty folder.")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / RECORD_FILE).is_file():
        raise InputError(
            f"--output-dir {folder} is not empty and holds no {RECORD_FILE}, so it was not written by nf-process-data "
            "and is left alone: give the name of a new or empty folder."
        )
    if not overwrite:
        raise InputError(
            f"--output-dir {folder} already holds a processed capture: give another folder, or --overwrite to replace "
            "it."
        )


@contextmanager
def new_capture_folder(folder: Path, overwrite: bool, record: dict[str, Any]) -> Iterator[Path]:
    """Yields a temporary sibling of ``folder`` to write into; renamed to ``folder`` when the block ends without error.

    Args:
        overwrite: Replace an earlier capture.
        record: JSON values kept in ``process_data.json``; may be filled while the block runs.

    Raises:
        InputError: The target holds something to be kept, or cannot be written to. Nothing has been written then.
    """
    check_output_folder(folder, overwrite)
    with whole_folder(folder) as staging:
        yield staging
        text = json.dumps(record, indent=2, sort_keys=True, default=str)
        (staging / RECORD_FILE).write_text(text + "\n", encoding="utf-8")
