"""``nf-render snapshots``: how a reconstruction came to be, as a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.exporters.mesh_animation import MeshView
    from nf_plugins.exporters.snapshots import Snapshot


@dataclass
class RenderSnapshots:
    """The snapshots that ns-train --steps-per-snapshot has written become a video; needs no model and no GPU."""

    load_config: Path
    """The config.yml of a run, or its folder; the snapshots lie beside it."""
    output_path: Path
    """What to write, by its suffix: .mp4, .gif, or none for a folder of PNGs."""
    outputs: tuple[str, ...] = ("rgb", "normal_rgb", "depth")
    """The pictures from left to right."""
    mesh: bool = False
    """Paint the meshes too, to the right. nf-render meshes --input-dir RUN/snapshots shows them alone, with more
    options."""
    mesh_up_axis: Literal["x", "y", "z", "-x", "-y", "-z"] = "z"
    """With --mesh: the axis that points up."""
    mesh_azimuth: float = -45.0
    """With --mesh: where the camera stands, degrees around the up axis."""
    mesh_elevation: float = 0.0
    """With --mesh: how high the camera stands, degrees above the ground."""
    fps: float = 10.0
    """Snapshots per second."""
    label: bool = True
    """Write the step above the pictures, and what they show."""

    def main(self) -> None:
        """Read the snapshots, join them, and say where the result lies."""
        snapshots = self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.evaluation.snapshot_video import animate_snapshots

        view = self.mesh_view(snapshots) if self.mesh else None
        animate_snapshots(snapshots, self.outputs, self.output_path, self.fps, labelled=self.label, mesh_view=view)
        CONSOLE.print(f"{len(snapshots)} snapshots: {self.output_path}", soft_wrap=True)

    def check(self) -> list[Snapshot]:
        """The snapshots to show.

        Raises:
            InputError: for whatever can be seen to be wrong before the first frame is made.
        """
        from nf_plugins.exporters.snapshots import SNAPSHOT_FOLDER, read_snapshots, snapshots_with
        from nf_plugins.exporters.video import check_frame_output

        if not self.load_config.exists():
            raise InputError(f"--load-config {self.load_config} does not exist, expected the config.yml of a run.")
        if not self.outputs:
            raise InputError("--outputs names no picture, expected some of rgb, normal_rgb and depth.")
        if self.fps <= 0:
            raise InputError(f"--fps must be positive, found {self.fps:g}.")
        run_dir = self.load_config if self.load_config.is_dir() else self.load_config.parent
        snapshots = snapshots_with(read_snapshots(run_dir / SNAPSHOT_FOLDER), self.outputs)
        if self.mesh and not any(snapshot.mesh for snapshot in snapshots):
            raise InputError(
                f"--mesh: none of the snapshots in {run_dir / SNAPSHOT_FOLDER} has a mesh; leave the option out."
            )
        check_frame_output(self.output_path)
        return snapshots

    def mesh_view(self, snapshots: list[Snapshot]) -> MeshView:
        """How the meshes are looked at: in a square as high as the last snapshot's pictures, at least 96 pixels."""
        from nf_plugins.evaluation.snapshot_video import SMALLEST_HEIGHT
        from nf_plugins.exporters.image_files import read_image
        from nf_plugins.exporters.mesh_animation import MeshView

        side = max(SMALLEST_HEIGHT, len(read_image(snapshots[-1].pictures[self.outputs[0]])))
        view = MeshView(
            up=self.mesh_up_axis,
            azimuth=self.mesh_azimuth,
            elevation=self.mesh_elevation,
            resolution=(side, side),
        )
        view.check()
        return view
