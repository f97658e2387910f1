"""``nf-cache compare``: what caches cost and what they gain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nf_plugins.cli.cache_run import RunOptions
from nf_plugins.errors import InputError


@dataclass
class CacheCompare(RunOptions):
    """Render the same images without and with caches: quality, seconds, samples, by threshold and resolution."""

    tags: tuple[str, ...] = ()
    """Caches of the run to compare."""
    resolutions: tuple[int, ...] = ()
    """Caches to compute for the occasion: cells along each axis."""
    raw_thresholds: tuple[float, ...] = (5.0, 4.0, 3.0, 2.0)
    """Their thresholds, as the published code of Im4D gives them (raw 5 is exp(4) = 54.6 per world unit)."""
    images: int = 6
    """Images of the split, evenly spread."""
    split: Literal["train", "val", "test"] = "test"
    """Whose images."""
    skip_empty: bool = False
    """Compute with a coarse look first, see nf-cache grid."""
    output_path: Path | None = None
    """JSON file for the results (default: evaluation/caches.json in the run's folder)."""
    allow_other_checkpoint: bool = False
    """Take caches of the run that were computed from another checkpoint."""

    def main(self) -> None:
        """Load the run, render, print the table, write it."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.atomic_files import write_json
        from nf_plugins.cli.eval import print_table
        from nf_plugins.evaluation.comparison_table import ComparisonTable
        from nf_plugins.run_facts import machine_name

        method, pipeline, step, run_dir = self.loaded("test")
        comparison = self.compare(pipeline, step, run_dir)
        path = self.output_path or run_dir / "evaluation" / "caches.json"
        protocol = {
            "method": method, "step": step, "split": self.split, "images": len(comparison.images),
            "threads": str(_threads()), "machine": machine_name(pipeline.device),
        }  # fmt: skip
        result = comparison.result(f"Occupancy caches of {method}", self.command(), protocol)
        write_json(path, result)
        print_table(ComparisonTable(result["columns"], result["rows"], protocol, result["notes"]))
        CONSOLE.print(f"Results: {path}", soft_wrap=True)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.exporters.occupancy_baking import check_resolution

        if not self.tags and not (self.resolutions and self.raw_thresholds):
            raise InputError("Name what to compare: --tags, or --resolutions and --raw-thresholds.")
        for resolution in self.resolutions:
            check_resolution([resolution] * 3)
        if self.images < 1:
            raise InputError(f"--images is {self.images}, expected at least 1.")
        if self.output_path is not None:
            check_writable(self.output_path)

    def compare(self, pipeline: Any, step: int, run_dir: Path) -> Any:
        """Renders everything."""
        from nf_plugins.evaluation.cache_comparison import CacheComparer
        from nf_plugins.exporters import occupancy_baking as baking
        from nf_plugins.exporters.occupancy_files import cache_path, load_cache, read_cache
        from nf_plugins.progress import progress_bar

        model = pipeline.model
        of_tags = []
        for tag in self.tags:
            allow = self.allow_other_checkpoint
            cache = load_cache(run_dir, tag, model, step=step, allow_other_checkpoint=allow)
            of_tags.append((cache, read_cache(cache_path(run_dir, tag))[1].raw_threshold))
        comparer = CacheComparer(pipeline, self.split, self.images)
        computed = len(self.resolutions) * len(self.raw_thresholds)
        with progress_bar() as progress:
            looks = len(self.resolutions) * len(comparer.frames)
            task = progress.add_task("Rendering", total=len(comparer.indices) * (1 + len(of_tags) + computed) + looks)

            def advance() -> None:
                progress.advance(task)

            comparer.warm_up()
            comparer.add("without cache", None, on_image=advance)
            for cache, raw in of_tags:
                comparer.add(cache.tag, cache, raw, advance)
            for resolution in self.resolutions if computed else ():
                options = baking.GridOptions((resolution, resolution, resolution), skip_empty=self.skip_empty)
                thresholds = {
                    raw: baking.density_threshold(model, options.resolution, baking.raw_to_density(raw))
                    for raw in self.raw_thresholds
                }
                maxima = []
                for frame in comparer.frames:
                    maxima.append(baking.frame_maxima(model, frame, options, min(thresholds.values())))
                    advance()
                for raw, threshold in thresholds.items():
                    name = f"{resolution} cells, raw {raw:g}"
                    cache = baking.cache_of_maxima(model, comparer.frames, maxima, threshold, tag=name)
                    comparer.add(name, cache, raw, advance)
        return comparer.comparison

    def command(self) -> str:
        """The command that makes the same table."""
        import shlex
        import sys

        return shlex.join(["nf-cache", *sys.argv[1:]]) if Path(sys.argv[0]).name == "nf-cache" else "nf-cache compare"


def _threads() -> int:
    import torch

    return torch.get_num_threads()
