"""Result files appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nf_plugins.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` when the block ends without an error.

    The temporary name keeps the suffix, because writers choose the format by it. Missing parent folders are made.

    Raises:
        InputError: if the folder cannot be made or written to.
    """
    path = Path(path)
    temporary = reserve_temporary_file(path)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_current_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def reserve_temporary_file(path: Path) -> Path:
    """An empty new file beside ``path``, with its suffix; fails in one sentence where nothing can be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file to write; choose another output path.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise InputError(
            f"The output folder {path.parent} is not writable ({error.strerror}); choose another output path."
        ) from error
    os.close(handle)
    return Path(name)


def check_writable(path: Path) -> None:
    """Fail before the work, not after it, where the file ``path`` could not be written.

    Raises:
        InputError: if the folder cannot be made or written to.
    """
    reserve_temporary_file(Path(path)).unlink()


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON atomically: numbers that JSON does not know (inf, nan) become null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_yaml(path: Path, content: Any) -> None:
    """Write the same content as :func:`write_json` as YAML, atomically, keys in the order given."""
    import yaml

    plain = json.loads(json.dumps(_finite(content), allow_nan=False))
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False, width=120), encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
