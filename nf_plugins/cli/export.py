"""``nf-export``: geometry of a trained run, one file per requested time, in the data's own units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from nf_plugins.errors import InputError


@dataclass
class ExportMesh:
    """One triangle mesh with vertex colours per requested time; runs on a CPU too."""

    load_config: Path
    """The config.yml of a run whose method has a surface (resfields-tnerf, tnerf-sdf, ...)."""
    output_dir: Path
    """Folder for the meshes and meshes.json, which says what they are."""
    times: tuple[float, ...] = ()
    """Times in [0, 1] to export; give this, --frames or --all-frames."""
    frames: tuple[int, ...] = ()
    """Training frames to export, counted from 0."""
    all_frames: bool = False
    """Export every training frame."""
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
        metadata = datamanager.train_dataset.metadata
        written = self.export(pipeline.model, metadata)
        if not any(entry["num_faces"] for entry in written):
            raise InputError(f"No surface was found at any of the {len(written)} times; train longer before exporting.")
        from nf_plugins.atomic_files import write_json

        content = {
            "method": config.method_name,
            "step": step,
            "checkpoint": str(checkpoint),
            "units": self.units,
            "resolution": self.resolution,
            "meshes": written,
        }
        write_json(self.output_dir / "meshes.json", content)
        CONSOLE.print(f"{sum(entry['num_faces'] > 0 for entry in written)} meshes: {self.output_dir}", soft_wrap=True)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.atomic_files import check_writable

        if sum([bool(self.times), bool(self.frames), self.all_frames]) != 1:
            raise InputError("Say which meshes to export with exactly one of --times, --frames and --all-frames.")
        for time in self.times:
            if not 0.0 <= time <= 1.0:
                raise InputError(f"--times: {time:g} is outside the sequence, expected times in [0, 1].")
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

    def requested(self, frame_times: Any) -> Iterator[tuple[str, float]]:
        """File name and time of every mesh.

        Raises:
            InputError: for a frame that does not exist.
        """
        if self.times:
            yield from ((f"time_{time:.6f}.{self.format}", time) for time in self.times)
            return
        if frame_times is None:
            raise InputError("--frames: this run knows no training frames; use --times.")
        frames = range(len(frame_times)) if self.all_frames else self.frames
        for frame in frames:
            if not 0 <= frame < len(frame_times):
                raise InputError(
                    f"--frames: frame {frame} is outside the sequence, expected 0 to {len(frame_times) - 1}."
                )
            yield f"frame_{frame:06d}.{self.format}", float(frame_times[frame])

    def export(self, model: Any, metadata: dict[str, Any]) -> list[dict[str, Any]]:
        """Extract and write the meshes of a model with ``surface_at``; earlier meshes of the folder stay."""
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.mesh import extract_mesh, write_mesh
        from nf_plugins.progress import progress_bar

        requests = list(self.requested(metadata.get("frame_times")))
        world_from_scene = metadata.get("world_from_scene") if self.units == "world" else None
        written = []
        with progress_bar() as progress:
            task = progress.add_task("Extracting meshes", total=len(requests))
            for index, (name, time) in enumerate(requests):
                mesh = extract_mesh(
                    model.surface_at(time),
                    self.grid_settings(),
                    world_from_scene,
                    with_colors=self.colors,
                    largest_component=self.largest_component,
                    on_progress=lambda done, index=index: progress.update(task, completed=index + done),
                )
                progress.update(task, completed=index + 1)
                if len(mesh.faces) == 0:
                    CONSOLE.print(f"No surface at time {time:g}: {name} is not written.")
                else:
                    write_mesh(self.output_dir / name, mesh)
                written.append(
                    {
                        "file": name if len(mesh.faces) else None,
                        "time": time,
                        "num_vertices": len(mesh.vertices),
                        "num_faces": len(mesh.faces),
                    }
                )
        return written


def entrypoint() -> None:
    """Console command ``nf-export``."""
    tyro.extras.subcommand_cli_from_dict({"mesh": ExportMesh}, description=__doc__).main()


if __name__ == "__main__":
    entrypoint()
