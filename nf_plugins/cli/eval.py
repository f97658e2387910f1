"""``nf-eval``: measure trained runs, side by side, with the protocol written down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from nf_plugins.errors import InputError


@dataclass
class Evaluate:
    """Compare the images that trained runs render with the true ones: full and foreground PSNR, SSIM, LPIPS."""

    load_config: tuple[Path, ...]
    """The config.yml of one or more runs, of any nerfstudio method."""
    split: Literal["train", "val", "test"] = "test"
    """Which images to evaluate on."""
    output_path: Path | None = None
    """JSON file for the results (default for one run: evaluation/SPLIT.json in its folder; for several: none)."""
    mask: Literal["full", "foreground", "both"] = "both"
    """Measure over whole images, over the foreground masks, or both (foreground needs data with masks)."""
    save_images: bool = False
    """Write rendered and true images as PNG into evaluation/SPLIT_images in each run's folder."""
    lpips: bool = True
    """Measure LPIPS too, where its weights are cached or can be fetched."""
    mesh_frames: tuple[int, ...] = ()
    """Training frames whose mesh is compared with the true one, where the data has true meshes or point clouds."""
    mesh_resolution: int = 128
    """Grid cells along the longest side of the scene box for these meshes (512 in the ResFields paper)."""
    mesh_samples: int = 100_000
    """Random points on each of these meshes and on the true ones."""

    def main(self) -> None:
        """Evaluate every run, print the table, write the JSON."""
        if not self.load_config:
            raise InputError("--load-config names no run, expected at least one config.yml.")
        output_path = self.output_path
        if output_path is None and len(self.load_config) == 1:
            output_path = run_folder(self.load_config[0]) / "evaluation" / f"{self.split}.json"
        for load_config in self.load_config:
            if not load_config.exists():
                raise InputError(f"--load-config {load_config} does not exist, expected the config.yml of a run.")
        results = self.evaluate_all(output_path)
        print_table(results)
        if output_path is not None:
            from nerfstudio.utils.rich_utils import CONSOLE

            CONSOLE.print(f"Results: {output_path}", soft_wrap=True)

    def evaluate_all(self, output_path: Path | None) -> dict[str, dict[str, Any]]:
        """Results of every run under its ``config.yml``; one run is written as it is, several under their names."""
        from nf_plugins.atomic_files import check_writable, write_json
        from nf_plugins.evaluation.evaluate import evaluate_run

        if output_path is not None:
            check_writable(output_path)
        results = {}
        for load_config in self.load_config:
            images_dir = run_folder(load_config) / "evaluation" / f"{self.split}_images" if self.save_images else None
            results[str(load_config)] = evaluate_run(
                load_config,
                self.split,
                save_images_dir=images_dir,
                mask=self.mask,
                use_lpips=self.lpips,
                mesh_frames=self.mesh_frames,
                mesh_resolution=self.mesh_resolution,
                mesh_samples=self.mesh_samples,
            )
        if output_path is not None:
            write_json(output_path, next(iter(results.values())) if len(results) == 1 else {"runs": results})
        return results


def run_folder(load_config: Path) -> Path:
    """The folder of a run, given its config.yml or the folder itself."""
    return load_config if load_config.is_dir() else load_config.parent


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Print one row of mean metrics per run; metrics that no run has are left out."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.table import Table

    from nf_plugins.evaluation.evaluate import METRICS

    names = [name for name in METRICS if any(run["mean"].get(name) is not None for run in results.values())]
    table = Table(title="Means over images")
    for heading in ("method", "experiment", "split", "images", "step", *names):
        table.add_column(heading, justify="left" if heading in ("method", "experiment", "split") else "right")
    for run in results.values():
        protocol = run["protocol"]
        cells = [protocol[key] for key in ("method", "experiment", "split", "num_images", "step")]
        values = [run["mean"].get(name) for name in names]
        table.add_row(*map(str, cells), *("-" if value is None else f"{value:.4f}" for value in values))
    CONSOLE.print(table)
    for name, run in results.items():
        if "geometry" in run:
            mean = run["geometry"]["mean"]
            values = ", ".join(f"{key} {value:.5f}" for key, value in mean.items())
            CONSOLE.print(f"{name}: {values} ({run['geometry']['units']} units)", soft_wrap=True)
    for note in dict.fromkeys(run["protocol"]["protocol_note"] for run in results.values()):
        if note:
            CONSOLE.print(f"Note: {note}", soft_wrap=True)


def entrypoint() -> None:
    """Console command ``nf-eval``."""
    tyro.cli(Evaluate, description=Evaluate.__doc__).main()


if __name__ == "__main__":
    entrypoint()
