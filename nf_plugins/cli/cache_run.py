"""What the commands of ``nf-cache`` have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.model_components.occupancy_cache import OccupancyCache


@dataclass
class RunOptions:
    """What all commands have in common."""

    load_config: Path
    """The config.yml of a run of a volume-rendered method (im4d, im4d-kplanes, resfields-tnerf, hashmod-neus, ...)."""

    def loaded(self, test_mode: Literal["test", "inference"]) -> tuple[Any, Any, int, Path]:
        """Method's name, pipeline, step and folder of the run."""
        from nf_plugins.engine.load_run import load_run

        run = load_run(self.load_config, test_mode)
        if not hasattr(run.pipeline.model, "use_occupancy_cache"):
            raise InputError(f"The method {run.config.method_name} of {self.load_config} knows no occupancy caches.")
        return run.config.method_name, run.pipeline, run.step, run.base_dir


def summary(cache: OccupancyCache, model: Any) -> str:
    """What a cache holds, in a sentence."""
    from nf_plugins.exporters.occupancy_files import world_scale

    shares = cache.occupied_shares()
    size = cache.num_bytes / 1024**2
    text = (
        f"{len(cache)} frames of {' x '.join(map(str, cache.resolution))} cells in {size:.1f} MiB; occupied "
        f"{100 * sum(shares) / len(shares):.1f} % in the mean, from {100 * min(shares):.1f} % to "
        f"{100 * max(shares):.1f} %"
    )
    if cache.density_threshold > 0:
        text += f"; denser than {cache.density_threshold / world_scale(model.metadata):.4g} per world unit"
    empty = [int(frame) for frame, share in zip(cache.frame_ids, shares, strict=True) if share == 0]
    if empty:
        text += f". NOTHING is occupied at {len(empty)} frames (first: {empty[0]}): lower the threshold"
    return text + "."
