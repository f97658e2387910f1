"""Checkpoint files: written whole or not at all, read newest first, truncated ones passed over.

A checkpoint folder holds ``step-000000123.ckpt`` files and nothing else, because nerfstudio's tools parse every name in
it. Unfinished files therefore lie one folder higher, on the same file system, and are renamed into place.

Everything in a checkpoint loads with ``torch.load(..., weights_only=True)``: tensors, numbers, strings, lists, dicts.
Those of nerfstudio's own trainer also hold NumPy scalars, which its learning-rate schedules leave behind; they are read
too, and become Python numbers.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.errors import InputError

State = dict[str, Any]

_CHECKPOINT_NAME = re.compile(r"step-(\d{9,})\.ckpt")
_TEMPORARY_PATTERN = ".step-*.ckpt.*.tmp"
_REQUIRED_KEYS = ("step", "pipeline", "optimizers", "scalers")


def checkpoint_name(step: int) -> str:
    """nerfstudio's file name for the checkpoint of a step."""
    return f"step-{step:09d}.ckpt"


def checkpoint_step(path: Path) -> int | None:
    """The step in a checkpoint's file name; None if it is not the name of a checkpoint."""
    match = _CHECKPOINT_NAME.fullmatch(path.name)
    return int(match.group(1)) if match else None


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, greatest step first; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    steps = {path: checkpoint_step(path) for path in folder.iterdir()}
    numbered = [(step, path) for path, step in steps.items() if step is not None]
    return [path for _, path in sorted(numbered, reverse=True)]


def save_checkpoint_atomically(state: State, path: Path) -> None:
    """Write ``state`` to ``path`` so that ``path`` never holds half a checkpoint, even if the machine stops.

    Raises:
        InputError: if the folder cannot be written to, or the disk is full.
    """
    temporary = path.parent.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"The checkpoint {path} could not be written ({error}); earlier checkpoints are untouched: "
            "make room or choose another --output-dir."
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_unfinished_files(checkpoint_dir: Path) -> None:
    """Remove what a killed process left behind while it wrote a checkpoint."""
    for path in checkpoint_dir.parent.glob(_TEMPORARY_PATTERN):
        path.unlink(missing_ok=True)


def remove_checkpoints_except(folder: Path, keep: set[Path]) -> None:
    """Delete all checkpoints of a folder but those in ``keep``."""
    for path in list_checkpoints(folder):
        if path not in keep:
            path.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> State:
    """Read one checkpoint onto the CPU.

    Raises:
        InputError: if it is missing, truncated, unreadable, or not a checkpoint of nerfstudio.
    """
    if not path.is_file():
        raise InputError(f"The checkpoint {path} does not exist, expected a file step-XXXXXXXXX.ckpt.")
    try:
        with _numpy_scalars_allowed():
            state = _with_python_numbers(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file fails in many ways: zip, pickle, end of file, runtime
        raise InputError(
            f"The checkpoint {path} cannot be read ({_first_line(error)}): it is truncated or damaged; "
            "choose an earlier one, or delete it to continue from the one before."
        ) from error
    missing = [key for key in _REQUIRED_KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise InputError(f"The file {path} is not a nerfstudio checkpoint: it has no entry {missing[0]!r}.")
    return state


def load_newest_valid(folder: Path, describe: Callable[[str], None] = CONSOLE.print) -> tuple[Path, State] | None:
    """The newest checkpoint of a folder that can be read, with its content; None if there is none.

    Args:
        folder: the checkpoint folder of a run.
        describe: called with one line for every checkpoint that is passed over.
    """
    for path in list_checkpoints(folder):
        try:
            return path, load_checkpoint(path)
        except InputError as error:
            describe(f"Passed over {path.name}: {error}")
    return None


def pack_random_state() -> State:
    """The state of all random number generators in use: Python's, NumPy's, torch's on the CPU and on every GPU."""
    version, words, gaussian = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": {"version": version, "words": list(words), "gaussian": gaussian},
        "numpy": {
            "name": str(name),
            "keys": [int(key) for key in keys],
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        "cuda": list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else [],
    }


def unpack_random_state(packed: State) -> None:
    """Set all random number generators to a state of :func:`pack_random_state`.

    GPUs beyond those that the state was taken on keep theirs, so that a run can move to another machine.
    """
    python, numpy = packed["python"], packed["numpy"]
    random.setstate((python["version"], tuple(python["words"]), python["gaussian"]))
    keys = np.array(numpy["keys"], dtype=np.uint32)
    np.random.set_state((numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))  # noqa: NPY002
    torch.set_rng_state(packed["torch"].cpu())
    if torch.cuda.is_available():
        for index, state in enumerate(packed["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state.cpu(), index)


@contextmanager
def _numpy_scalars_allowed() -> Iterator[None]:
    """Lets ``weights_only`` read NumPy numbers, which run no code of the file. Without effect before torch 2.6."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
        yield
        return
    scalar: Any = np.float64(0.0).__reduce__()[0]
    dtypes = {type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    # NumPy 2 moved the function; a file names the place it had when the file was written.
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals([*names, np.dtype, *dtypes]):
        yield


def _with_python_numbers(value: Any) -> Any:
    """The same nest of dicts, lists and tuples with Python numbers in place of NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        for key, item in value.items():  # in place: a state dict carries attributes
            value[key] = _with_python_numbers(item)
        return value
    if type(value) in (list, tuple):
        return type(value)(_with_python_numbers(item) for item in value)
    return value


def _flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` outlast a power cut, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
