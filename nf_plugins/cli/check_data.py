"""nf-check-data: look at a capture before training on it for hours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from nerfstudio.configs.dataparser_configs import all_dataparsers
from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.utils.rich_utils import CONSOLE

from dataparsers.dna_rendering import dna_rendering_data
from dataparsers.dnerf_rgba import dnerf_rgba_data
from dataparsers.dtu import dtu_data
from dataparsers.easyvolcap import easyvolcap_data
from dataparsers.mesh_sequence import mesh_sequence_data
from dataparsers.nerfstudio_time import nerfstudio_time_data
from dataparsers.neural3dv import neural3dv_data
from dataparsers.nhr import nhr_data
from dataparsers.nsff import nsff_data
from dataparsers.owlii import owlii_data
from dataparsers.video import video_data
from dataparsers.zju_mocap import zju_mocap_data
from nf_plugins.data.check import CaptureReport, check_capture
from nf_plugins.data.check_figure import draw_capture, require_writable

# Ours are there even when the package runs from its folder, without entry points.
OURS = {
    "owlii-data": owlii_data.config,
    "dnerf-rgba-data": dnerf_rgba_data.config,
    "nerfstudio-time-data": nerfstudio_time_data.config,
    "zju-mocap-data": zju_mocap_data.config,
    "easyvolcap-data": easyvolcap_data.config,
    "nhr-data": nhr_data.config,
    "dna-rendering-data": dna_rendering_data.config,
    "neural3dv-data": neural3dv_data.config,
    "dtu-data": dtu_data.config,
    "nsff-data": nsff_data.config,
    "video-data": video_data.config,
    "mesh-sequence-data": mesh_sequence_data.config,
}
DATAPARSERS = OURS | all_dataparsers

if TYPE_CHECKING:
    AnyDataParser = DataParserConfig
else:
    AnyDataParser = tyro.extras.subcommand_type_from_defaults(DATAPARSERS, prefix_names=False)


@dataclass
class CheckData:
    """Read a whole capture, print its numbers and draw its cameras, masks and times into a PNG.

    Ends with exit status 1 and one sentence where the data cannot be trained on.
    """

    dataparser: Annotated[AnyDataParser, tyro.conf.arg(name="")]
    """How the capture is laid out on disk."""
    output_path: Path = Path("check.png")
    """Where the picture is written."""

    def main(self) -> CaptureReport:
        """Checks, prints, draws."""
        require_writable(self.output_path)
        name = next(name for name, config in DATAPARSERS.items() if type(config) is type(self.dataparser))
        report = check_capture(self.dataparser, name)
        print_report(report)
        draw_capture(report, self.output_path)
        CONSOLE.print(f"Picture: {self.output_path}", soft_wrap=True)
        return report


def print_report(report: CaptureReport) -> None:
    """The numbers as a table, a row per split, and sentences on the rest."""
    from rich.table import Table

    table = Table(title=f"{report.data} ({report.dataparser})")
    for heading in ("split", "images", "cameras", "resolution", "times", "foreground", "rays in box"):
        table.add_column(heading)
    for split in report.splits.values():
        times = "-"
        if split.times is not None:
            distinct = len(split.times.unique())
            times = f"{distinct} in {float(split.times.min()):.3g} .. {float(split.times.max()):.3g}"
        foreground = "no masks"
        if split.foreground is not None:
            low, high = float(split.foreground.min()), float(split.foreground.max())
            foreground = f"{float(split.foreground.mean()):.1%} ({low:.1%} .. {high:.1%})"
        cells: list[Any] = [
            split.name,
            len(split.dataset),
            _counts(split.images_per_camera),
            _counts(split.resolutions),
            times,
            foreground,
            f"{split.rays_in_box:.1%}",
        ]
        table.add_row(*map(str, cells))
    CONSOLE.print(table)
    if report.time_spacing is not None:
        least, median, largest = report.time_spacing
        CONSOLE.print(f"Training times are {least:.4g} .. {largest:.4g} apart (median {median:.4g}).", soft_wrap=True)
    CONSOLE.print(_views_in_words(report), soft_wrap=True)
    keys = ("protocol_note", "calibration_note")
    notes = [split.outputs.metadata.get(key, "") for key in keys for split in report.splits.values()]
    for note in dict.fromkeys(note for note in notes if note):
        CONSOLE.print(f"Note: {note}.", soft_wrap=True)
    for sentence in report.warnings:
        CONSOLE.print(f"[bold yellow]Warning:[/bold yellow] {sentence}", soft_wrap=True)
    if not report.warnings:
        CONSOLE.print("[green]Nothing stands against training on it.")


def _views_in_words(report: CaptureReport) -> str:
    """How much of the scene is seen at once, and how fast the cameras move where it moves."""
    factors = report.factors
    fewest, mean, most = factors.views_per_time
    if report.is_static:
        return f"The scene stands still; {most} training views, spanning {factors.simultaneous_span:.1f} degrees."
    return (
        f"Views at one time: {mean:.3g} (from {fewest} to {most}), spanning {factors.simultaneous_span:.1f} degrees. "
        f"Angular multi-view factor: {factors.angular_speed:.2f} degrees per frame, the mean angle between consecutive "
        "positions of a camera as seen from the point nearest to all optical axes (the full factor needs scene flow)."
    )


def _counts(counts: dict[str, int]) -> str:
    """ "name x count" of every entry; only the number of entries where there are many."""
    if len(counts) == 1:
        return next(iter(counts))
    if len(counts) > 4:
        return f"{len(counts)} ({min(counts.values())} .. {max(counts.values())} images each)"
    return ", ".join(f"{name} x{count}" for name, count in counts.items())


def entrypoint() -> None:
    """Console command ``nf-check-data``."""
    # Options may stand before or behind the dataparser's name; tyro before 1.0 takes them behind it.
    anywhere = getattr(tyro.conf, "CascadeSubcommandArgs", tyro.conf.ConsolidateSubcommandArgs)
    markers = (anywhere, tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed)
    tyro.cli(CheckData, prog="nf-check-data", config=markers).main()


if __name__ == "__main__":
    entrypoint()
