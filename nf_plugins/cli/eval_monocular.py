"""``nf-eval monocular``: views of other cameras at the times of a monocular video, by the published protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nf_plugins.cli.eval_results import evaluation_folder, print_columns, run_folder, write_result
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
        from nf_plugins.evaluation.lpips import LazyLPIPS

        lpips = LazyLPIPS() if self.lpips else None
        results: dict[str, dict[str, Any]] = {}
        try:
            for load_config in self.load_config:
                result = results[str(load_config)] = self.evaluate(load_config, lpips)
                write_result(
                    load_config,
                    results,
                    default_name=f"monocular_{result['protocol']['name']}.json",
                    output_path=self.output_path,
                    num_runs=len(self.load_config),
                )
        finally:
            # What was measured before a run that cannot be is worth seeing.
            if results:
                print_results(results)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong of any run before the first is loaded."""
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.cli.render_options import check_run

        if not self.load_config:
            raise InputError("--load-config names no run, expected at least one config.yml.")
        for load_config in self.load_config:
            check_run("--load-config", load_config)
        if self.image_stride < 1:
            raise InputError(f"--image-stride is {self.image_stride}, expected at least 1.")
        for path in self._output_paths():
            check_writable(path)

    def _output_paths(self) -> list[Path]:
        """A file in each folder that results go to."""
        if self.output_path is not None:
            return [self.output_path]
        name = "monocular.json" if self.protocol == "auto" else f"monocular_{self.protocol}.json"
        return [evaluation_folder(load_config) / name for load_config in self.load_config]

    def evaluate(self, load_config: Path, lpips: LazyLPIPS | None = None) -> dict[str, Any]:
        """The results of one run, with ``training`` (steps and seconds, None where the run kept no record).

        Raises:
            InputError: as :func:`~nf_plugins.evaluation.evaluate_monocular.evaluate_monocular`.
        """
        from nf_plugins.engine.load_run import load_run
        from nf_plugins.evaluation.evaluate_monocular import evaluate_monocular
        from nf_plugins.evaluation.evaluate_run import training_block

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
        result["training"] = training_block(run_folder(load_config))
        return result


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the means of every run, a column for each, and the notes of their protocols."""
    from nerfstudio.utils.rich_utils import CONSOLE

    print_columns("Views of other cameras, means over images", [summary(result) for result in results.values()])
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
    flow = result["optical_flow"]
    for name, where in (("epe", ""), ("epe_dynamic", ", what moves")):
        if flow is not None and flow["mean"][name] is not None:
            lines[f"optical flow, pixels off{where}"] = f"{flow['mean'][name]:.3f}"
    return lines
