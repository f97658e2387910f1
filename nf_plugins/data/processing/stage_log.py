"""Which stages of a long command have been made, and with what options, so that it can be gone on with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nf_plugins.atomic_files import write_json
from nf_plugins.data.processing.output_folder import RECORD_FILE
from nf_plugins.errors import InputError


@dataclass(frozen=True)
class Stage:
    """What determines a stage's files."""

    made_with: dict[str, Any]
    """Options and fingerprints, JSON values."""
    folders: tuple[str, ...]
    """Below the output folder, as patterns; deleted when the stage is made anew."""
    after: tuple[str, ...] = ()
    """Stages whose files go into this one's."""


class StageLog:
    """``process_data.json`` of an output folder whose stages are made one after the other.

    A stage is entered before its first file is written. So files that are there belong to the options in the log, and
    a run that was stopped goes on where it was.

    Args:
        folder: The output folder.
        command: What made it; a folder of another one is left alone.

    Raises:
        InputError: The folder holds something that this command did not write.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.path = folder / RECORD_FILE
        self.content: dict[str, Any] = {"command": command, "stages": {}}
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--output-dir {folder} is a file, expected the name of a new or empty folder.")
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or content.get("command") != command or "stages" not in content:
            raise InputError(
                f"--output-dir {folder} is not empty and holds no {RECORD_FILE} of {command}, so it was not written by "
                "this command and is left alone: give the name of a new or empty folder."
            )
        self.content = content

    def made_with(self, name: str) -> dict[str, Any] | None:
        """What a stage that was begun was made with."""
        stage = self.content["stages"].get(name)
        return None if stage is None else stage["made_with"]

    def finished(self, name: str) -> bool:
        """Whether all files of a stage were made."""
        return bool(self.content["stages"].get(name, {}).get("finished"))

    def stale(self, planned: Mapping[str, Stage]) -> list[str]:
        """Stages in the log that were made with something else, or after one that was; in the order of ``planned``."""
        found: list[str] = []
        for name, stage in planned.items():
            before = self.made_with(name)
            if before is not None and (before != _as_json(stage.made_with) or any(one in found for one in stage.after)):
                found.append(name)
        return found

    def require_fresh(self, planned: Mapping[str, Stage], overwrite: bool) -> None:
        """Raise InputError where a stage would have to be made anew and ``overwrite`` does not allow it."""
        stale = self.stale(planned)
        if not stale or overwrite:
            return
        before, now = self.made_with(stale[0]) or {}, _as_json(planned[stale[0]].made_with)
        key = next(key for key in (*now, *before) if before.get(key) != now.get(key))
        raise InputError(
            f"--output-dir {self.folder} holds {stale[0]} made with another {key} ({before.get(key)}, now "
            f"{now.get(key)}), expected the same to go on with: give another folder, or --overwrite to make "
            f"{', '.join(stale)} anew."
        )

    def clear(self, planned: Mapping[str, Stage]) -> None:
        """Deletes the files of stale stages."""
        for name in self.stale(planned):
            for pattern in planned[name].folders:
                for folder in self.folder.glob(pattern):
                    shutil.rmtree(folder)
        for name in self.stale(planned):
            del self.content["stages"][name]
        if self.folder.is_dir():
            self.save()

    def begin(self, name: str, stage: Stage) -> None:
        """Enters a stage, before its first file."""
        entry = self.content["stages"].setdefault(name, {"finished": False})
        entry["made_with"] = _as_json(stage.made_with)
        self.save()

    def finish(self, name: str, **facts: Any) -> None:
        """Notes that all files of a stage are there, and what it found out."""
        self.content["stages"][name] |= {"finished": True, **_as_json(facts)}
        self.save()

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        write_json(self.path, _as_json(self.content))


@dataclass
class Warnings:
    """What is allowed but spoils results; said once, and kept for the report."""

    messages: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        """Prints and keeps a message."""
        from nerfstudio.utils.rich_utils import CONSOLE

        self.messages.append(message)
        CONSOLE.print(f"[bold yellow]Warning:[/bold yellow] {message}", soft_wrap=True, highlight=False)


def fingerprint_files(paths: Iterable[Path]) -> str:
    """A short name of files as they are: their names, sizes and times of change."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(f"{path.name}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def fingerprint_array(values: NDArray[np.generic]) -> str:
    """A short name of an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
