"""Training runs of a comparison: each is made once, by commands that are kept beside it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nf_plugins.atomic_files import write_json
from nf_plugins.errors import InputError

RECORD = "commands.json"


def cached_run(folder: Path, commands: Sequence[Sequence[str]], result: Path, label: str) -> dict[str, Any]:
    """Carries out commands, unless the same ones did so before.

    Args:
        folder: Of the run; gets a log and a record of the commands.
        commands: Programs with arguments, one after the other, one thread each.
        result: JSON file that the last one writes.
        label: What is printed with the seconds that it took.

    Returns:
        The content of ``result``.

    Raises:
        InputError: The folder was made by other commands.
        subprocess.CalledProcessError: A command failed; the log says why.
    """
    wanted, record = [list(command) for command in commands], folder / RECORD
    if record.is_file() and json.loads(record.read_text()) != wanted:
        raise InputError(f"{folder} holds a run of other options than these: choose another --output-dir.")
    if not result.is_file():
        write_json(record, wanted)
        started = time.time()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        with (folder / "log.txt").open("a") as log:
            for command in wanted:
                subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
        print(f"{label}: {time.time() - started:.0f} s", flush=True)
    return json.loads(result.read_text())
