"""``nf-export``: geometry of a trained run, one file per requested time, in the data's own units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.exporters.mesh_folder import MeshFolderWriter


@dataclass
class ExportMesh:
    """One triangle mesh with vertex colours per requested time; runs on a CPU too."""

    load_config: Path
    """The config.yml of a run whose method has a surface (resfields-tnerf, tnerf-sdf, ...)."""
    output_dir: Path
    """Folder for the meshes and meshes.json, which says what they are (meshes.partial.json until all are there)."""
    times: tuple[float, ...] = ()
    """Times in [0, 1] to export; give this, --frames or --all-frames."""
    frames: tuple[int, ...] = ()
    """Training frames to export, counted from 0."""
    all_frames: bool = False
    """Export every training frame."""
    frame_stride: int = 1
    """With --all-frames: only every n-th frame."""
    resolution: int = 256
    """Grid cells along the longest side of the scene box."""
    coarse_resolution: int | None = None
    """Blocks along the longest side that are tested first (default: resolution / 8; --resolution tests every cell)."""
    lipschitz_factor: float = 1.5
    """Safety factor on the slope of the signed distance when empty blocks are skipped."""
    format: Literal["ply", "obj", "glb"] = "ply"
    """File format."""
    units: Literal["world", "scene"] = "world"
    """The data's own units and frame, or the normalised scene of the model."""
    colors: bool = True
    """Colour the vertices."""
    largest_component: bool = False
    """Keep only the connected part with the most faces."""

    def main(self) -> None:
        """Load the run, extract and write every mesh."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.engine.load_run import load_run

        config, pipeline, checkpoint, step = load_run(self.load_config, test_mode="inference")
        if not hasattr(pipeline.model, "surface_at"):
            raise InputError(
                f"The method {config.method_name} of {self.load_config} has no surface; nf-export mesh needs a "
                "signed-distance method such as resfields-tnerf."
            )
        datamanager: Any = pipeline.datamanager
        header = {"method": config.method_name, "step": step, "checkpoint": str(checkpoint)}
        writer = self.export(pipeline.model, datamanager.train_dataset.metadata, header)
        entries, failures = writer.entries, writer.failures
        num_written = sum(entry["file"] is not None for entry in entries)
        if num_written:
            CONSOLE.print(f"{num_written} meshes: {self.output_dir}", soft_wrap=True)
        if failures:
            times = ", ".join(f"{entry['time']:g}" for entry in failures)
            raise InputError(
                f"{len(failures)} of {len(entries)} meshes could not be made, at the times {times} "
                f"({failures[0]['error']}); {num_written} lie in {self.output_dir}."
            )
        if not num_written:
            raise InputError(f"No surface was found at any of the {len(entries)} times; train longer before exporting.")

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.atomic_files import check_writable

        if sum([bool(self.times), bool(self.frames), self.all_frames]) != 1:
            raise InputError("Say which meshes to export with exactly one of --times, --frames and --all-frames.")
        for time in self.times:
            if not 0.0 <= time <= 1.0:
                raise InputError(f"--times: {time:g} is outside the sequence, expected times in [0, 1].")
        if self.frame_stride < 1 or (self.frame_stride > 1 and not self.all_frames):
            raise InputError(f"--frame-stride {self.frame_stride}: expected 1 or more, together with --all-frames.")
        if not self.load_config.exists():
            raise InputError(f"--load-config {self.load_config} does not exist, expected the config.yml of a run.")
        self.grid_settings()
        check_writable(self.output_dir / "meshes.json")

    def grid_settings(self) -> Any:
        """The sampling that the options ask for: the block size is a power of two near resolution / coarse."""
        from nf_plugins.exporters.signed_distance_grid import GridSettings

        coarse = self.coarse_resolution or max(1, self.resolution // 8)
        if not 1 <= coarse <= self.resolution:
            raise InputError(f"--coarse-resolution must be between 1 and --resolution, found {coarse}.")
        block_size = 1 << ((self.resolution // coarse).bit_length() - 1)
        return GridSettings(self.resolution, block_size, self.lipschitz_factor)

    def requested(self, frame_times: Any) -> Iterator[tuple[str, float, int | None]]:
        """File name, time and frame of every mesh.

        Raises:
            InputError: for a frame that does not exist.
        """
        if self.times:
            yield from ((f"time_{time:.6f}.{self.format}", time, None) for time in self.times)
            return
        if frame_times is None:
            raise InputError("--frames: this run knows no training frames; use --times.")
        frames = range(0, len(frame_times), self.frame_stride) if self.all_frames else self.frames
        for frame in frames:
            if not 0 <= frame < len(frame_times):
                raise InputError(
                    f"--frames: frame {frame} is outside the sequence, expected 0 to {len(frame_times) - 1}."
                )
            yield f"frame_{frame:06d}.{self.format}", float(frame_times[frame]), frame

    def export(self, model: Any, metadata: dict[str, Any], header: dict[str, Any]) -> MeshFolderWriter:
        """Extract and write the meshes of a model with ``surface_at``; earlier meshes of the folder stay.

        A mesh that cannot be made is told of and listed with its error; the others are made all the same, and the list
        stays ``meshes.partial.json``.

        Args:
            model: The model.
            metadata: Of its training data.
            header: What ``meshes.json`` says of the run.

        Returns:
            The folder's list of meshes.
        """
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.mesh import extract_mesh
        from nf_plugins.exporters.mesh_folder import MeshFolderWriter
        from nf_plugins.progress import progress_bar

        requests = list(self.requested(metadata.get("frame_times")))
        matrix = metadata.get("world_from_scene")
        header = {
            **header,
            "units": self.units,
            "resolution": self.resolution,
            "world_from_scene": None if matrix is None else [[float(value) for value in row] for row in matrix],
        }
        writer = MeshFolderWriter(self.output_dir, header)
        with progress_bar() as progress:
            task = progress.add_task("Extracting meshes", total=len(requests))
            for index, (name, time, frame) in enumerate(requests):
                try:
                    mesh = extract_mesh(
                        model.surface_at(time),
                        self.grid_settings(),
                        matrix if self.units == "world" else None,
                        with_colors=self.colors,
                        largest_component=self.largest_component,
                        on_progress=lambda done, index=index: progress.update(task, completed=index + done),
                    )
                    writer.add(name, time, mesh, frame)
                except Exception as error:  # memory, a broken frame, a full disk: the other frames are worth having
                    CONSOLE.print(f"The mesh at time {time:g} could not be made ({error}).", soft_wrap=True)
                    writer.add_failure(time, error, frame)
                else:
                    if len(mesh.faces) == 0:
                        CONSOLE.print(f"No surface at time {time:g}: {name} is not written.")
                progress.update(task, completed=index + 1)
        if not writer.failures:
            writer.finish()
        return writer


def entrypoint() -> None:
    """Console command ``nf-export``."""
    tyro.extras.subcommand_cli_from_dict({"mesh": ExportMesh}, description=__doc__).main()


if __name__ == "__main__":
    entrypoint()
