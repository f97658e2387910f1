"""``nf-eval monocular``: views of other cameras at the times of a monocular video, by the published protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.evaluation.lpips import LazyLPIPS

METRICS = {
    "psnr": "PSNR",
    "ssim_range1": "SSIM",
    "ssim_range2": "SSIM, range 2 as published",
    "lpips": "LPIPS",
}


@dataclass
class EvaluateMonocular:
    """Measure views that a monocular video does not show, over whole images and over what moves."""

    load_config: tuple[Path, ...]
    """The config.yml of one or more runs on nsff-data."""
    protocol: Literal["auto", "nsff", "dynamic-nerf"] = "auto"
    """nsff = all held-out cameras at all times (24 x 11 images of the NVIDIA Dynamic Scene set); dynamic-nerf = the
    first camera at the first 12 times, images of eight bits; auto = the one of the run's data (--eval-protocol)."""
    output_path: Path | None = None
    """JSON file for the results (default: evaluation/monocular_PROTOCOL.json in each run's folder)."""
    lpips: bool = True
    """Measure LPIPS too, where its weights are cached or can be fetched."""
    image_stride: int = 1
    """Evaluate only every n-th image, for a quick look; the results say so."""

    def main(self) -> None:
        """Evaluate every run, print the means, write the results."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.atomic_files import write_json
        from nf_plugins.cli.eval_dtu import evaluation_folder
        from nf_plugins.evaluation.lpips import LazyLPIPS

        lpips = LazyLPIPS() if self.lpips else None
        results: dict[str, dict[str, Any]] = {}
        for load_config in self.load_config:
            result = results[str(load_config)] = self.evaluate(load_config, lpips)
            path = self.output_path
            if path is None:
                path = evaluation_folder(load_config) / f"monocular_{result['protocol']['name']}.json"
                write_json(path, result)
            else:
                write_json(path, result if len(self.load_config) == 1 else {"runs": results})
            CONSOLE.print(f"Results: {path}", soft_wrap=True)
        print_results(results)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before a run is loaded."""
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.cli.render_options import check_run

        if not self.load_config:
            raise InputError("--load-config names no run, expected at least one config.yml.")
        for load_config in self.load_config:
            check_run("--load-config", load_config)
        if self.image_stride < 1:
            raise InputError(f"--image-stride is {self.image_stride}, expected at least 1.")
        if self.output_path is not None:
            check_writable(self.output_path)

    def evaluate(self, load_config: Path, lpips: LazyLPIPS | None = None) -> dict[str, Any]:
        """The results of one run, with ``training`` (steps and seconds, None where the run kept no record).

        Raises:
            InputError: as :func:`~nf_plugins.evaluation.evaluate_monocular.evaluate_monocular`.
        """
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.cli.eval_dtu import evaluation_folder
        from nf_plugins.engine.load_run import load_run
        from nf_plugins.engine.training_record import read_training_record
        from nf_plugins.evaluation.evaluate_monocular import evaluate_monocular
        from nf_plugins.evaluation.evaluate_run import TRAINING_KEYS

        folder = evaluation_folder(load_config)
        if self.output_path is None:
            check_writable(folder / "monocular.json")
        config, pipeline, checkpoint, step = load_run(load_config, test_mode="test")
        result = evaluate_monocular(
            pipeline,
            config,
            step,
            None if self.protocol == "auto" else self.protocol,
            lpips=lpips,
            image_stride=self.image_stride,
            checkpoint=checkpoint,
        )
        record = read_training_record(folder.parent)
        result["training"] = None if record is None else {key: record.get(key) for key in TRAINING_KEYS}
        return result


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the means of every run: a column for each."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.table import Table

    columns = [summary(result) for result in results.values()]
    table = Table(title="Views of other cameras, means over images", show_header=False)
    table.add_column()
    for _ in columns:
        table.add_column(justify="right", overflow="fold")
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(column.get(name, "-") for column in columns))
    CONSOLE.print(table)
    for note in dict.fromkeys(result["protocol"]["protocol_note"] for result in results.values()):
        CONSOLE.print(f"Note: {note}", soft_wrap=True)


def summary(result: dict[str, Any]) -> dict[str, str]:
    """The numbers of a run that are there, by what they are called in print."""
    protocol, means = result["protocol"], result["mean"]
    lines = {
        "protocol": protocol["name"],
        "method": str(protocol["method"]),
        "data": Path(protocol["data"]).name,
        "step": str(protocol["step"]),
        "images": str(result["num_images"]),
    }
    if result["num_trained_on"]:
        lines["of them trained on"] = str(result["num_trained_on"])
    if result["num_empty_masks"]:
        lines["of them with nothing that moves"] = str(result["num_empty_masks"])
    for suffix, where in (("", ""), ("_dynamic", ", what moves")):
        for name, title in METRICS.items():
            if means[name + suffix] is not None:
                lines[title + where] = f"{means[name + suffix]:.4f}"
    return lines
