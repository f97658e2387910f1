"""``nf-eval multiview``: what held-out cameras of a capture see, by the published protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nf_plugins.cli.eval_results import evaluation_folder, print_columns, write_result
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.evaluation.lpips import LazyLPIPS

TITLES = {
    "psnr_box": "PSNR, box",
    "ssim_range1_box": "SSIM, box",
    "ssim_range2_box": "SSIM, box, range 2 as published",
    "lpips_box": "LPIPS (VGG), box",
    "detail_psnr": "PSNR of fine texture",
    "detail_energy": "fine texture, share of the truth's",
    "psnr": "PSNR, whole image",
    "ssim": "SSIM, whole image",
    "psnr_fg": "PSNR, foreground",
    "ssim_fg": "SSIM, foreground",
    "mask_iou": "silhouette, intersection over union",
    "psnr_inner": "PSNR, foreground without rim",
    "psnr_dynamic": "PSNR, where most moves",
    "ssim_range1_dynamic": "SSIM, where most moves",
    "ssim_range2_dynamic": "SSIM, where most moves, range 2 as published",
    "lpips_dynamic": "LPIPS (VGG), where most moves",
}


@dataclass
class EvaluateMultiview:
    """Measure what held-out cameras of a capture see: in the subject's box, in its fine texture, in whole images."""

    load_config: tuple[Path, ...]
    """The config.yml of one or more runs."""
    protocol: Literal["box", "nhr", "dynerf"] = "box"
    """box = PSNR over the pixels that see the subject's box, SSIM and LPIPS over the rectangle around them; nhr adds
    PSNR over the foreground without its rim; dynerf adds the patches with most motion. All add fine texture and whole
    images."""
    split: Literal["train", "val", "test"] = "test"
    """Which images to evaluate on."""
    test_cameras: tuple[str, ...] = ()
    """Names or numbers of the split's cameras to evaluate (default: all of them)."""
    frame_stride: int = 1
    """Evaluate every n-th of the split's frames (published: 30 for ZJU-MoCap, 20 for DNA-Rendering, 10 for NHR)."""
    image_stride: int = 1
    """Evaluate only every n-th of these images, for a quick look; the results say so."""
    box: Literal["frame", "scene"] = "frame"
    """The subject's box at the image's frame, or that of the whole scene."""
    truth_folder: Path | None = None
    """With --protocol nhr: folder of released pictures FFFF_VV_gt.png, FFFF_VV_mask.png and FFFF_VV_edge.png to compare
    with, by frame and camera (default: the data's own images and masks)."""
    patches: Path | None = None
    """With --protocol dynerf: JSON file of the patches, read where it exists and otherwise written (default: found
    anew, and listed in the results)."""
    patch_size: int = 128
    """Side of the patches that are found, in pixels of the evaluated images."""
    cache: str | None = None
    """Render with the runs' occupancy caches of this tag, which nf-cache has made."""
    allow_other_checkpoint: bool = False
    """With --cache: take it even if it was made from another checkpoint."""
    data: Path | None = None
    """Evaluate on another scene of the same layout, with methods that can (enerf)."""
    output_path: Path | None = None
    """JSON file for the results (default: evaluation/multiview_PROTOCOL.json in each run's folder; the name also tells
    of --cache and --data)."""
    lpips: bool = True
    """Measure LPIPS too, where its weights are cached or can be fetched."""

    def main(self) -> None:
        """Evaluate every run, print the means, write the results."""
        self.check()
        from nf_plugins.evaluation.lpips import LazyLPIPS

        lpips = LazyLPIPS("vgg") if self.lpips else None
        results: dict[str, dict[str, Any]] = {}
        for load_config in self.load_config:
            results[str(load_config)] = self.evaluate(load_config, lpips)
            write_result(
                load_config,
                results,
                default_name=self.default_name(),
                output_path=self.output_path,
                num_runs=len(self.load_config),
            )
        print_results(results)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before a run is loaded."""
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.cli.open_run import check_run_options
        from nf_plugins.cli.render_options import check_run

        if not self.load_config:
            raise InputError("--load-config names no run, expected at least one config.yml.")
        for load_config in self.load_config:
            check_run("--load-config", load_config)
        check_run_options(self.cache, self.data)
        if min(self.frame_stride, self.image_stride, self.patch_size) < 1:
            raise InputError(
                f"--frame-stride {self.frame_stride} --image-stride {self.image_stride} --patch-size {self.patch_size}:"
                " expected at least 1."
            )
        for option, value, protocol in (
            ("--truth-folder", self.truth_folder, "nhr"),
            ("--patches", self.patches, "dynerf"),
        ):
            if value is not None and self.protocol != protocol:
                raise InputError(f"{option} needs --protocol {protocol}, found --protocol {self.protocol}.")
        if self.truth_folder is not None and not self.truth_folder.is_dir():
            raise InputError(f"--truth-folder {self.truth_folder} is no folder, expected one of released pictures.")
        for path in (self.output_path, self.patches):
            if path is not None and not path.exists():
                check_writable(path)

    def default_name(self) -> str:
        """The file of a run's results."""
        parts = ["multiview", self.protocol]
        parts += [] if self.cache is None else ["cache", self.cache]
        parts += [] if self.data is None else ["on", self.data.resolve().name]
        return "_".join(parts) + ".json"

    def evaluate(self, load_config: Path, lpips: LazyLPIPS | None = None) -> dict[str, Any]:
        """The results of one run, with ``training`` (steps and seconds, None where the run kept no record).

        Raises:
            InputError: as :func:`~nf_plugins.evaluation.evaluate_multiview.evaluate_multiview`.
        """
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.cli.open_run import open_run
        from nf_plugins.evaluation.evaluate_multiview import MultiviewOptions, evaluate_multiview
        from nf_plugins.evaluation.evaluate_run import training_block

        folder = evaluation_folder(load_config)
        if self.output_path is None:
            check_writable(folder / self.default_name())
        config, pipeline, checkpoint, step = open_run(
            load_config,
            "test",
            cache=self.cache,
            allow_other_checkpoint=self.allow_other_checkpoint,
            data=self.data,
        )
        options = MultiviewOptions(
            protocol=self.protocol,
            split=self.split,
            box=self.box,
            test_cameras=self.test_cameras,
            frame_stride=self.frame_stride,
            image_stride=self.image_stride,
            truth_folder=self.truth_folder,
            patches=self.patches,
            patch_size=self.patch_size,
        )
        result = evaluate_multiview(pipeline, config, step, options, lpips=lpips, checkpoint=checkpoint)
        result["protocol"]["occupancy_cache"] = self.cache
        result["training"] = training_block(folder.parent)
        return result


def print_results(results: dict[str, dict[str, Any]]) -> None:
    """Print the means of every run, a column for each, and the notes of their protocols."""
    from nerfstudio.utils.rich_utils import CONSOLE

    print_columns("Held-out cameras, means over images", [summary(result) for result in results.values()])
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
    lines |= {title: f"{means[name]:.4f}" for name, title in TITLES.items() if name in means}
    if result["seconds_per_image"] is not None:
        lines["seconds per image"] = f"{result['seconds_per_image']:.3f}"
    return lines
