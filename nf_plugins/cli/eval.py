"""``nf-eval``: measure trained runs, side by side, with the protocol written down."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from nf_plugins.cli.eval_results import evaluation_folder, run_folder
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.evaluation.comparison_table import ComparisonTable

Split = Literal["train", "val", "test"]
Results = dict[str, dict[Split, dict[str, Any]]]


@dataclass
class Evaluate:
    """Compare the images that trained runs render with the true ones: full and foreground PSNR, SSIM, LPIPS."""

    load_config: tuple[Path, ...]
    """The config.yml of one or more runs, of any nerfstudio method."""
    split: tuple[Split, ...] = ("test",)
    """Which images to evaluate on; one or more splits."""
    output_path: Path | None = None
    """JSON file for the results (default for one run without --output-dir: evaluation/SPLIT.json in its folder)."""
    output_dir: Path | None = None
    """Folder for everything the runs render: SPLIT/ with images, grids, their video and results as JSON and YAML, and
    meshes/; for several runs each in its own folder. What is complete there is not done again."""
    fresh: bool = False
    """With --output-dir, take over nothing of what an earlier nf-eval has written there."""
    fps: float = 24.0
    """With --output-dir, frames per second of the grids' video."""
    table: Path | None = None
    """Markdown (.md) or JSON (.json) file for the table of all runs, with their parameters and training seconds."""
    mask: Literal["full", "foreground", "both"] = "both"
    """Measure over whole images, over the foreground masks, or both (foreground needs data with masks)."""
    save_images: bool = False
    """Write rendered and true images as PNG into evaluation/SPLIT_images in each run's folder."""
    lpips: bool = True
    """Measure LPIPS too, where its weights are cached or can be fetched."""
    image_stride: int = 1
    """Evaluate only every n-th image of a split, for a quick look; the results say so. Not with --output-dir."""
    mesh_frames: tuple[int, ...] = ()
    """Training frames whose mesh is compared with the true one, where the data has true meshes or point clouds; with
    --output-dir the meshes are written too."""
    all_mesh_frames: bool = False
    """The same for every training frame."""
    mesh_resolution: int = 128
    """Grid cells along the longest side of the scene box for these meshes (512 in the ResFields paper)."""
    mesh_samples: int = 100_000
    """Random points on each of these meshes and on the true ones."""

    def main(self) -> None:
        """Evaluate every run, print the table, write the results."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.evaluation.comparison_table import comparison_table, write_table

        results = self.evaluate_all()
        written = self.write_results(results)
        table = comparison_table([result for splits in results.values() for result in splits.values()])
        print_table(table)
        if self.table is not None:
            write_table(self.table, table, "Means over images", self.command())
            written.append(self.table)
        for path in written:
            CONSOLE.print(f"Results: {path}", soft_wrap=True)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before a run is loaded."""
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.evaluation.comparison_table import check_table_path
        from nf_plugins.exporters.signed_distance_grid import GridSettings

        if not self.load_config:
            raise InputError("--load-config names no run, expected at least one config.yml.")
        if not self.split or len(set(self.split)) < len(self.split):
            raise InputError(f"--split names {', '.join(self.split) or 'none'}, expected each of some splits once.")
        for load_config in self.load_config:
            if not load_config.exists():
                raise InputError(f"--load-config {load_config} does not exist, expected the config.yml of a run.")
        if self.image_stride < 1 or (self.image_stride > 1 and self.output_dir is not None):
            raise InputError(
                f"--image-stride {self.image_stride}: expected at least 1, and no --output-dir above 1 (it holds all)."
            )
        if self.fps <= 0:
            raise InputError(f"--fps must be positive, found {self.fps:g}.")
        try:
            GridSettings(resolution=self.mesh_resolution)
        except InputError as error:
            raise InputError(f"--mesh-resolution is {self.mesh_resolution}: {error}") from error
        if self.mesh_samples < 1:
            raise InputError(f"--mesh-samples is {self.mesh_samples}, expected at least 1.")
        if self.table is not None:
            check_table_path(self.table)
            check_writable(self.table)
        if self.output_path is not None:
            check_writable(self.output_path)

    def evaluate_all(self) -> Results:
        """Results of every run under its ``config.yml``, by split; written after each run."""
        from nf_plugins.evaluation.evaluate_run import RunEvaluationOptions, evaluate_run
        from nf_plugins.evaluation.split_folder import FolderOptions

        results: Results = {}
        for load_config in self.load_config:
            output_dir = self.output_dir_of(load_config)
            options = RunEvaluationOptions(
                splits=self.split,
                mask=self.mask,
                use_lpips=self.lpips,
                image_stride=self.image_stride,
                save_images=self.save_images,
                folders=None if output_dir is None else FolderOptions(output_dir, self.fps, self.fresh),
                mesh_frames=self.mesh_frames,
                all_mesh_frames=self.all_mesh_frames,
                mesh_resolution=self.mesh_resolution,
                mesh_samples=self.mesh_samples,
            )
            results[str(load_config)] = evaluate_run(load_config, options)
            self.write_results(results)
        return results

    def output_dir_of(self, load_config: Path) -> Path | None:
        """Where the folders of a run go: for several runs below EXPERIMENT/METHOD/TIMESTAMP, their own folders."""
        if self.output_dir is None or len(self.load_config) == 1:
            return self.output_dir
        return self.output_dir.joinpath(*run_folder(load_config).absolute().parts[1:][-3:])

    def write_results(self, results: Results) -> list[Path]:
        """Write the JSON files that the options ask for.

        One result is written as it is, several splits of one run by split, several runs by their ``config.yml``.

        Returns:
            What lies where.
        """
        from nf_plugins.atomic_files import write_json

        written = [] if self.output_dir is None else [self.output_dir]
        if self.output_path is not None:
            contents: dict[str, Any] = {
                name: next(iter(splits.values())) if len(splits) == 1 else {"splits": splits}
                for name, splits in results.items()
            }
            content = next(iter(contents.values())) if len(self.load_config) == 1 else {"runs": contents}
            write_json(self.output_path, content)
            written.append(self.output_path)
        elif self.output_dir is None and len(self.load_config) == 1:
            for split, result in next(iter(results.values())).items():
                written.append(evaluation_folder(self.load_config[0]) / f"{split}.json")
                write_json(written[-1], result)
        return written

    def command(self) -> str:
        """The command that gives the same table again."""
        parts = ["nf-eval", "--load-config", *map(str, self.load_config), "--split", *self.split, "--mask", self.mask]
        if not self.lpips:
            parts.append("--no-lpips")
        if self.all_mesh_frames or self.mesh_frames:
            parts += ["--all-mesh-frames"] if self.all_mesh_frames else ["--mesh-frames", *map(str, self.mesh_frames)]
            parts += ["--mesh-resolution", str(self.mesh_resolution), "--mesh-samples", str(self.mesh_samples)]
        return shlex.join(parts)


def print_table(table: ComparisonTable) -> None:
    """Print a table and its notes: a row for each run, or a column where rows would not fit the terminal."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.table import Table

    title, texts = "Means over images", table.text()
    shown = Table(title=title)
    for index, heading in enumerate(table.columns):
        shown.add_column(heading, justify="right" if table.is_number(index) else "left", no_wrap=True)
    for row in texts:
        shown.add_row(*row)
    if CONSOLE.measure(shown, options=CONSOLE.options.update_width(10_000)).maximum > CONSOLE.width:
        shown = Table(title=title, show_header=False)
        shown.add_column()
        for _ in texts:
            shown.add_column(justify="right", overflow="fold")
        for index, heading in enumerate(table.columns):
            shown.add_row(heading, *(row[index] for row in texts))
    CONSOLE.print(shown)
    for note in table.notes:
        CONSOLE.print(f"Note: {note}", soft_wrap=True)


def entrypoint() -> None:
    """Console command ``nf-eval``; ``nf-eval dtu`` measures static surfaces, ``nf-eval monocular`` other views."""
    if sys.argv[1:2] == ["dtu"]:
        from nf_plugins.cli.eval_dtu import EvaluateDTU

        tyro.cli(EvaluateDTU, prog="nf-eval dtu", description=EvaluateDTU.__doc__, args=sys.argv[2:]).main()
        return
    if sys.argv[1:2] == ["monocular"]:
        from nf_plugins.cli.eval_monocular import EvaluateMonocular

        description = EvaluateMonocular.__doc__
        tyro.cli(EvaluateMonocular, prog="nf-eval monocular", description=description, args=sys.argv[2:]).main()
        return
    if sys.argv[1:2] == ["multiview"]:
        from nf_plugins.cli.eval_multiview import EvaluateMultiview

        description = EvaluateMultiview.__doc__
        tyro.cli(EvaluateMultiview, prog="nf-eval multiview", description=description, args=sys.argv[2:]).main()
        return
    others = (
        "For static surfaces see nf-eval dtu --help, for monocular videos nf-eval monocular --help, for held-out "
        "cameras of a capture nf-eval multiview --help."
    )
    tyro.cli(Evaluate, description=f"{Evaluate.__doc__} {others}").main()


if __name__ == "__main__":
    entrypoint()
