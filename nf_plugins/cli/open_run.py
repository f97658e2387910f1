"""How the commands that render open a run: with its occupancy cache, or on another scene."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nf_plugins.cli.eval_results import run_folder
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.engine.load_run import LoadedRun


def check_run_options(cache: str | None, data: Path | None) -> None:
    """Raise InputError for what can be seen to be wrong before a run is loaded."""
    if cache is not None and data is not None:
        raise InputError(
            f"--cache {cache} belongs to the scene that the run was trained on, and --data names another: leave one "
            "out."
        )
    if data is not None and not data.exists():
        raise InputError(f"--data {data} does not exist, expected a scene like the one that the run was trained on.")


def open_run(
    load_config: Path,
    test_mode: Literal["test", "val", "inference"],
    *,
    cache: str | None = None,
    allow_other_checkpoint: bool = False,
    data: Path | None = None,
) -> LoadedRun:
    """A run, ready to render.

    Args:
        load_config: Its config.yml or folder.
        test_mode: See :func:`~nf_plugins.engine.load_run.load_run`.
        cache: Tag of the occupancy cache to render with.
        allow_other_checkpoint: Take the cache even if it is of other parameters.
        data: Another scene to render.

    Raises:
        InputError: Also where there is no such cache, it is another checkpoint's, or the method can use none.
    """
    from nf_plugins.engine.load_run import load_run

    run = load_run(load_config, test_mode=test_mode) if data is None else load_run(load_config, test_mode, data=data)
    if cache is not None:
        _use_cache(run_folder(load_config), cache, run, allow_other_checkpoint)
    return run


def _use_cache(folder: Path, tag: str, run: LoadedRun, allow_other_checkpoint: bool) -> None:
    """Let a run's model render with its occupancy cache."""
    from nf_plugins.exporters.occupancy_files import load_cache

    config, pipeline, _, step = run
    model: Any = pipeline.model
    if not hasattr(model, "use_occupancy_cache"):
        raise InputError(f"--cache {tag}: the method {config.method_name} knows no occupancy caches; leave it out.")
    cache = load_cache(folder, tag, model, step=step, allow_other_checkpoint=allow_other_checkpoint)
    model.use_occupancy_cache(cache)
