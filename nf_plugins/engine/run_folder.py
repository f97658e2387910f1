"""The folder of a run: which one to continue, whether a command may write into it, one writer at a time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.errors import InputError

try:
    import fcntl
except ImportError:  # Windows: no lock, everything else works
    fcntl = None

CONFIG_NAME = "config.yml"
_LOCK_NAME = ".training.lock"

# What a run is made of: a resumed run must not differ in these ...
_COMPARED_FIELDS = (
    "pipeline",
    "optimizers",
    "machine.seed",
    "machine.num_devices",
    "machine.num_machines",
    "mixed_precision",
    "use_grad_scaler",
    "gradient_accumulation_steps",
)
# ... save for these parts of them, which change no gradient or may follow a raised number of iterations.
_FREE_FIELDS = frozenset(
    {
        "eval_num_rays_per_chunk",
        "eval_num_rays_per_batch",
        "eval_num_images_to_sample_from",
        "eval_num_times_to_repeat_images",
        "eval_image_indices",
        "images_on_gpu",
        "masks_on_gpu",
        "train_num_rays_per_batch",
    }
)
# Of these a change is said: it makes other batches, but a run that is out of memory needs it.
_SAID_FIELDS = ("pipeline.datamanager.train_num_rays_per_batch",)
_MISSING = object()


def find_newest_run(method_dir: Path) -> Path | None:
    """The run under ``outputs/EXPERIMENT/METHOD`` that was started last; None if there is none.

    A run is a folder that holds a config.yml. That file is written at every start, so its time tells which is newest.
    Runs with a checkpoint come before runs without: a start that failed does not hide the run before it.
    """
    if not method_dir.is_dir():
        return None
    configs = [path for path in method_dir.glob(f"*/{CONFIG_NAME}") if path.is_file()]
    if not configs:
        return None

    def rank(path: Path) -> tuple[bool, int, str]:
        return any(path.parent.glob("*/step-*.ckpt")), path.stat().st_mtime_ns, path.parent.name

    return max(configs, key=rank).parent


def read_config(path: Path) -> Any:
    """Read a config.yml of nerfstudio.

    Raises:
        InputError: if it is missing, damaged, or names classes that are not installed.
    """
    if not path.is_file():
        raise InputError(f"There is no {path}, expected the config.yml that ns-train writes into the folder of a run.")
    try:
        config = yaml.load(path.read_text("utf8"), Loader=yaml.Loader)
    except Exception as error:  # yaml imports the classes that the file names: anything can fail
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path} cannot be read ({lines[-1].strip()[:200]}): it is damaged, or was written by a method that is "
            "not installed here."
        ) from error
    if not dataclasses.is_dataclass(config) or not hasattr(config, "pipeline"):
        raise InputError(f"{path} does not hold a nerfstudio config, expected the config.yml of a run.")
    return config


def find_difference(stored: Any, current: Any, name: str) -> tuple[str, Any, Any] | None:
    """The first place where two configs differ.

    Args:
        stored: a config or a part of one, from a file.
        current: its counterpart.
        name: the dotted name of that part.

    Returns:
        Dotted name, stored value and current value; None if there is no difference that matters to training.
    """
    if dataclasses.is_dataclass(current) and not isinstance(current, type):
        if type(stored) is not type(current):
            return name, type(stored).__name__, type(current).__name__
        stored_parts: Mapping[Any, Any] = vars(stored)
        current_parts: Mapping[Any, Any] = vars(current)
    elif isinstance(current, Mapping) and isinstance(stored, Mapping):
        stored_parts, current_parts = stored, current
        for key in stored:
            if key not in current:
                return f"{name}.{key}", stored[key], None
    else:
        return None if _equal(stored, current) else (name, stored, current)
    for key, value in current_parts.items():
        if key in _FREE_FIELDS or (key == "max_steps" and ".scheduler" in name):
            continue
        counterpart = stored_parts.get(key, _MISSING)
        if counterpart is _MISSING:
            if stored_parts is stored:
                return f"{name}.{key}", None, value
            continue  # a field that did not exist when the run was started
        difference = find_difference(counterpart, value, f"{name}.{key}")
        if difference is not None:
            return difference
    return None


def check_same_training(config_path: Path, current: Any) -> None:
    """Refuse to continue a run with another model, other data or another optimiser.

    The number of rays per batch may change, as a run that is out of memory needs it; that is said in one line.

    Raises:
        InputError: naming the first option that differs, with both values.
    """
    stored = read_config(config_path)
    for name in _COMPARED_FIELDS:
        difference = find_difference(_get(stored, name), _get(current, name), name)
        if difference is not None:
            field, old, new = difference
            raise InputError(
                f"The run {config_path.parent} was started with {_option(field)} {_short(old)}, this command asks for "
                f"{_short(new)}: give the same value to continue it, or begin a new run without --resume."
            )
    for name in _SAID_FIELDS:
        old, new = _get(stored, name, None), _get(current, name, None)
        if old is not None and old != new:
            CONSOLE.print(f"The run goes on with {_option(name)} {new} in place of {old}: its losses will differ.")


def check_folder_writable(folder: Path) -> None:
    """Fail before anything is written if a folder could not be made or written to.

    Raises:
        InputError: naming the part of the path that is in the way.
    """
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"The output folder {folder} cannot be made: {existing} is a file; choose --output-dir.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"The output folder {folder} is not writable at {existing}; choose another --output-dir.")


@contextmanager
def training_lock(run_dir: Path) -> Iterator[None]:
    """Keep other processes from training in the same run; the lock ends with the process, however it ends.

    Raises:
        InputError: if another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(run_dir / _LOCK_NAME, wait=False))
        except BlockingIOError as error:
            raise InputError(
                f"The run {run_dir} is being trained by another process: wait for it, stop it, or begin a new run "
                "without --resume."
            ) from error
        yield


@contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is made if need be; the lock ends with the process, however it ends.

    Where there are no locks (Windows, some file systems), the block runs without.

    Raises:
        BlockingIOError: without ``wait``, if another process holds it.
    """
    if fcntl is None:
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks
        yield


def check_not_training(run_dir: Path) -> None:
    """Raise InputError if another process trains in a run."""
    if (run_dir / _LOCK_NAME).exists():
        with training_lock(run_dir):
            pass


def _equal(stored: Any, current: Any) -> bool:
    if isinstance(stored, Path) and isinstance(current, Path):
        return stored.resolve() == current.resolve()
    if isinstance(stored, (list, tuple)) and isinstance(current, (list, tuple)):
        return len(stored) == len(current) and all(
            find_difference(old, new, "") is None for old, new in zip(stored, current, strict=True)
        )
    try:
        return bool(stored == current)
    except (RuntimeError, ValueError):  # arrays
        return repr(stored) == repr(current)


def _get(config: Any, dotted: str, *default: Any) -> Any:
    for part in dotted.split("."):
        config = getattr(config, part, *default)
    return config


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
