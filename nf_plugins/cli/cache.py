"""``nf-cache``: which cells of space a trained run fills, frame by frame, so that rendering can skip the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from nf_plugins.cli.cache_compare import CacheCompare
from nf_plugins.cli.cache_run import RunOptions, summary
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.exporters.occupancy_baking import GridOptions
    from nf_plugins.model_components.occupancy_cache import OccupancyCache

Resolution = tuple[int, int, int]


@dataclass
class CacheGrid(RunOptions):
    """Compute a cache of occupied cells and write it beside the run, into occupancy/TAG.npz."""

    tag: str = "default"
    """Name of the cache; nf-render and nf-eval multiview take it with --cache."""
    resolution: Resolution = (128, 128, 128)
    """Cells along x, y and z of the frame's box."""
    frames: tuple[int, int, int] = (0, -1, 1)
    """First and last training frame, both included, and stride; -1 is the last frame."""
    threshold: float | None = None
    """Density per world unit (metre) above which a cell is occupied. Default: 7.39 for the methods on feature planes;
    for others an optical depth of 0.01 across a cell."""
    raw_threshold: float | None = None
    """The same as the published code of Im4D gives it, before the activation: raw 5 is exp(4) = 54.6 per metre."""
    auto_threshold: bool = False
    """Take the largest of the raw thresholds 5, 4, 3, 2, 1 that loses no more than 0.2 dB on a training view."""
    dilate: int = 0
    """Neighbours of occupied cells that count as occupied too, in cells along each axis."""
    skip_empty: bool = False
    """Look first at a lattice four times as coarse, and then only near what it finds: faster; thin things may be
    lost."""
    source: Annotated[Literal["field", "masks", "points"], tyro.conf.arg(name="from")] = "field"
    """What cells are taken from: the trained density, the visual hull of the training masks, or point clouds."""
    points_folder: Path | None = None
    """With --from points: a folder with one .ply of world points for each frame, as nf-export points writes."""
    overwrite: bool = False
    """Replace a cache of this name."""

    def main(self) -> None:
        """Load the run, compute, write, and say how much is occupied."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.occupancy_baking import chosen_frames
        from nf_plugins.exporters.occupancy_files import CacheFacts, cache_path, frame_times_of, write_cache

        # The training images are needed for masks and to try thresholds, the model alone otherwise.
        needs_images = self.source == "masks" or self.auto_threshold
        method, pipeline, step, run_dir = self.loaded("test" if needs_images else "inference")
        path = cache_path(run_dir, self.tag)
        if path.exists() and not self.overwrite:
            raise InputError(f"{path} exists already: choose another --tag, or say --overwrite.")
        frame_ids = chosen_frames(self.frames, len(frame_times_of(pipeline.model)))
        cache, raw = self.bake(pipeline, frame_ids)
        write_cache(path, cache, pipeline.model, CacheFacts(method, step, raw, self.source))
        CONSOLE.print(summary(cache, pipeline.model), soft_wrap=True)
        CONSOLE.print(f"Occupancy cache: {path}", soft_wrap=True)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.exporters.occupancy_baking import check_resolution
        from nf_plugins.exporters.occupancy_files import cache_path

        check_resolution(self.resolution)
        cache_path(Path(), self.tag)
        given = [self.threshold is not None, self.raw_threshold is not None, self.auto_threshold]
        if sum(given) > 1:
            raise InputError("Give one of --threshold, --raw-threshold and --auto-threshold.")
        if any(given) and self.source != "field":
            raise InputError(f"--from {self.source} has no densities: leave out the threshold.")
        if self.threshold is not None and self.threshold <= 0:
            raise InputError(f"--threshold is {self.threshold:g}, expected a density above 0.")
        if self.dilate < 0:
            raise InputError(f"--dilate is {self.dilate}, expected 0 or more cells.")
        if (self.source == "points") != (self.points_folder is not None):
            raise InputError("--from points needs --points-folder, and --points-folder needs --from points.")
        if self.points_folder is not None and not self.points_folder.is_dir():
            raise InputError(f"--points-folder {self.points_folder} is no folder.")

    def bake(self, pipeline: Any, frame_ids: list[int]) -> tuple[OccupancyCache, float | None]:
        """The cache, and the raw threshold where there is one."""
        from nf_plugins.exporters import occupancy_baking
        from nf_plugins.progress import progress_bar

        options = occupancy_baking.GridOptions(self.resolution, self.dilate, self.skip_empty)
        model = pipeline.model
        threshold, raw = self.chosen_threshold(pipeline, options) if self.source == "field" else (0.0, None)
        with progress_bar() as progress:
            task = progress.add_task("Looking at frames", total=len(frame_ids))

            def advance() -> None:
                progress.advance(task)

            if self.source == "masks":
                cache = occupancy_baking.bake_masks(
                    model, pipeline.datamanager, frame_ids, options, tag=self.tag, on_frame=advance
                )
            elif self.points_folder is not None:
                files = sorted(self.points_folder.glob("*.ply"))
                cache = occupancy_baking.bake_points(model, files, frame_ids, options, tag=self.tag, on_frame=advance)
            else:
                cache = occupancy_baking.bake_field(
                    model, frame_ids, options, threshold, tag=self.tag, on_frame=advance
                )
        return cache, raw

    def chosen_threshold(self, pipeline: Any, options: GridOptions) -> tuple[float, float | None]:
        """Density per scene unit, and the raw threshold where there is one."""
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.occupancy_baking import density_threshold, raw_to_density

        raw = self.raw_threshold
        if self.auto_threshold:
            from nf_plugins.evaluation.harmless_threshold import harmless_threshold

            raw, trials = harmless_threshold(pipeline, options)
            tried = ", ".join(f"raw {trial.raw_threshold:g} loses {trial.loss:.2f} dB" for trial in trials)
            CONSOLE.print(f"Thresholds on a training view: {tried}.", soft_wrap=True)
        wanted = self.threshold if raw is None else raw_to_density(raw)
        return density_threshold(pipeline.model, self.resolution, wanted), raw


@dataclass
class CacheImport(RunOptions):
    """Take over binarys.npz and bounds.npz of the published code of Im4D as a cache of a run."""

    folder: Path
    """Where the two files lie."""
    tag: str = "imported"
    """Name of the cache."""
    frames: tuple[int, int, int] = (0, -1, 1)
    """First and last training frame of the grids, both included, and stride; -1 is the last frame."""
    overwrite: bool = False
    """Replace a cache of this name."""

    def main(self) -> None:
        """Load the run, read, write."""
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.model_digest import model_digest
        from nf_plugins.exporters.occupancy_baking import chosen_frames
        from nf_plugins.exporters.occupancy_files import (
            CacheFacts,
            cache_path,
            frame_times_of,
            read_reference_pair,
            write_cache,
        )

        method, pipeline, step, run_dir = self.loaded("inference")
        path = cache_path(run_dir, self.tag)
        if path.exists() and not self.overwrite:
            raise InputError(f"{path} exists already: choose another --tag, or say --overwrite.")
        frame_ids = chosen_frames(self.frames, len(frame_times_of(pipeline.model)))
        cache = read_reference_pair(self.folder, pipeline.model.metadata.get("world_from_scene"), frame_ids)
        cache.tag, cache.checkpoint = self.tag, model_digest(pipeline.model)
        write_cache(path, cache, pipeline.model, CacheFacts(method, step, None, str(self.folder)))
        CONSOLE.print(summary(cache, pipeline.model), soft_wrap=True)
        CONSOLE.print(f"Occupancy cache: {path}", soft_wrap=True)


@dataclass
class CacheExport(RunOptions):
    """Write a cache of a run as the published code of Im4D keeps it: binarys.npz and bounds.npz."""

    output_dir: Path
    """Folder for the two files."""
    tag: str = "default"
    """Name of the cache."""
    allow_other_checkpoint: bool = False
    """Take a cache that was computed from another checkpoint."""

    def main(self) -> None:
        """Load the run, read, write."""
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.occupancy_files import load_cache, write_reference_pair

        _, pipeline, step, run_dir = self.loaded("inference")
        cache = load_cache(
            run_dir, self.tag, pipeline.model, step=step, allow_other_checkpoint=self.allow_other_checkpoint
        )
        for path in write_reference_pair(self.output_dir, cache, pipeline.model.metadata.get("world_from_scene")):
            CONSOLE.print(f"Written: {path}", soft_wrap=True)


Commands = (
    Annotated[CacheGrid, tyro.conf.subcommand(name="grid")]
    | Annotated[CacheCompare, tyro.conf.subcommand(name="compare")]
    | Annotated[CacheImport, tyro.conf.subcommand(name="import")]
    | Annotated[CacheExport, tyro.conf.subcommand(name="export")]
)


def entrypoint() -> None:
    """Console command ``nf-cache``."""
    tyro.cli(Commands, description=__doc__, prog="nf-cache").main()  # type: ignore[arg-type]


if __name__ == "__main__":
    entrypoint()
