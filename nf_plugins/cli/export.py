"""``nf-export``: geometry of a trained run, one file per requested time, in the data's own units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    import trimesh

    from nf_plugins.exporters.mesh_folder import MeshFolderWriter

WHICH_MESHES = "Say which meshes to export with exactly one of --times, --frames and --all-frames."


@dataclass
class ExportMesh:
    """One triangle mesh with vertex colours per requested time, or of a still scene; runs on a CPU too."""

    load_config: Path
    """The config.yml of a run whose method has a surface (idr, hashmod-neus, resfields-tnerf, tnerf-sdf, ...)."""
    output_dir: Path
    """Folder for the meshes and meshes.json, which says what they are (meshes.partial.json until all are there)."""
    times: tuple[float, ...] = ()
    """Times in [0, 1] to export; give this, --frames or --all-frames, and none of them for a scene that stands still
    (it gives mesh.ply)."""
    frames: tuple[int, ...] = ()
    """Training frames to export, counted from 0."""
    all_frames: bool = False
    """Export every training frame."""
    frame_stride: int = 1
    """With --all-frames: only every n-th frame."""
    resolution: int = 256
    """Grid cells along the longest side of the scene box; with --principal-axes grid points along the shortest side of
    the object's box (512 in IDR)."""
    coarse_resolution: int | None = None
    """Blocks along the longest side that are tested first (default: resolution / 8; --resolution tests every cell)."""
    lipschitz_factor: float = 1.5
    """Safety factor on the slope of the signed distance when empty blocks are skipped."""
    format: Literal["ply", "obj", "glb"] = "ply"
    """File format."""
    units: Literal["world", "scene"] = "world"
    """The data's own units and frame, or the normalised scene of the model. Where poses were trained and the true ones
    are known, the similarity that aligns the cameras brings the mesh into the world, as in nf-eval dtu."""
    colors: bool = True
    """Colour the vertices."""
    largest_component: bool = False
    """Keep only the connected part with the most faces."""
    principal_axes: bool = False
    """Lay the grid along the object's principal axes and keep the part of largest area, as IDR does."""
    cull_by_masks: bool = False
    """Remove what the widened masks of the training views exclude, for static methods trained without masks."""
    mask_dilation: float = 50.0
    """With --cull-by-masks: how far the masks are widened, in pixels of an image 1600 pixels wide."""

    def main(self) -> None:
        """Load the run, extract and write every mesh."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.engine.load_run import load_run
        from nf_plugins.evaluation.evaluate_views import is_still

        config, pipeline, checkpoint, step = load_run(self.load_config, test_mode="inference")
        if not hasattr(pipeline.model, "surface_at"):
            raise InputError(
                f"The method {config.method_name} of {self.load_config} has no surface; nf-export mesh needs a "
                "signed-distance method such as idr or resfields-tnerf."
            )
        datamanager: Any = pipeline.datamanager
        header = {"method": config.method_name, "step": step, "checkpoint": str(checkpoint)}
        writer = self.export(pipeline.model, datamanager.train_dataset, header)
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
            where = "in the scene" if is_still(datamanager.train_dataset) else f"at any of the {len(entries)} times"
            raise InputError(f"No surface was found {where}; train longer before exporting.")

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.atomic_files import check_writable

        if sum([bool(self.times), bool(self.frames), self.all_frames]) > 1:
            raise InputError(WHICH_MESHES)
        for time in self.times:
            if not 0.0 <= time <= 1.0:
                raise InputError(f"--times: {time:g} is outside the sequence, expected times in [0, 1].")
        if self.frame_stride < 1 or (self.frame_stride > 1 and not self.all_frames):
            raise InputError(f"--frame-stride {self.frame_stride}: expected 1 or more, together with --all-frames.")
        if not self.load_config.exists():
            raise InputError(f"--load-config {self.load_config} does not exist, expected the config.yml of a run.")
        if self.mask_dilation < 0:
            raise InputError(f"--mask-dilation is {self.mask_dilation:g}, expected a number of pixels of at least 0.")
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

    def requested(self, dataset: Any) -> Iterator[tuple[str, float, int | None]]:
        """File name, time and frame of every mesh.

        Raises:
            InputError: for a frame that does not exist, times of a scene that has none, or no times of one that has.
        """
        from nf_plugins.evaluation.evaluate_views import is_still

        names_times = bool(self.times or self.frames or self.all_frames)
        if is_still(dataset):
            if names_times:
                raise InputError(
                    "--times, --frames and --all-frames: the scene of this run stands still, so there is one mesh; "
                    "leave them out."
                )
            if self.cull_by_masks and "fg_mask_filenames" not in dataset.metadata:
                raise InputError("--cull-by-masks: the training views of this run have no masks; leave it out.")
            yield f"mesh.{self.format}", 0.0, None
            return
        if not names_times:
            raise InputError(WHICH_MESHES)
        if self.cull_by_masks:
            raise InputError("--cull-by-masks: the masks of a moving scene are of many times; leave it out.")
        frame_times = dataset.metadata.get("frame_times")
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

    def export(self, model: Any, dataset: Any, header: dict[str, Any]) -> MeshFolderWriter:
        """Extract and write the meshes of a model with ``surface_at``; earlier meshes of the folder stay.

        A mesh that cannot be made is told of and listed with its error; the others are made all the same, and the list
        stays ``meshes.partial.json``.

        Args:
            model: The model.
            dataset: That it was trained on.
            header: What ``meshes.json`` says of the run.

        Returns:
            The folder's list of meshes.
        """
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.mesh_folder import MeshFolderWriter
        from nf_plugins.progress import progress_bar

        requests = list(self.requested(dataset))
        matrix = dataset.metadata.get("world_from_scene")
        alignment = self.alignment(model, dataset)
        applied = matrix if alignment is None else alignment
        header = {
            **header,
            "units": self.units,
            "resolution": self.resolution,
            "principal_axes": self.principal_axes,
            "culled_by_masks": self.cull_by_masks,
            "world_from_scene": None if matrix is None else [[float(value) for value in row] for row in matrix],
            "aligned_to_true_cameras": alignment is not None,
        }
        writer = MeshFolderWriter(self.output_dir, header)
        with progress_bar() as progress:
            task = progress.add_task("Extracting meshes", total=len(requests))
            for index, (name, time, frame) in enumerate(requests):
                try:
                    mesh = self.extract(
                        model.surface_at(time),
                        lambda done, index=index: progress.update(task, completed=index + done),
                    )
                    if self.cull_by_masks and len(mesh.faces):
                        mesh = self.cull(mesh, model, dataset)
                    if self.units == "world" and applied is not None:
                        mesh.apply_transform(np.asarray(applied, dtype=np.float64))
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

    def alignment(self, model: Any, dataset: Any) -> np.ndarray | None:
        """(4, 4) from the learnt scene to the world by the true cameras; None where these are not known."""
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.evaluation.dataset_images import refined_cameras
        from nf_plugins.evaluation.evaluate_views import is_still
        from nf_plugins.evaluation.world_frame import compare_cameras, differ, world_from_learnt_scene

        if self.units != "world" or not is_still(dataset):
            return None
        refined = refined_cameras(model, dataset.cameras)
        accuracy = compare_cameras(dataset, refined)
        if accuracy is not None:
            return world_from_learnt_scene(dataset.metadata, accuracy)
        if differ(refined, dataset.cameras):
            CONSOLE.print("Poses were trained: the world of the mesh is that of the cameras that were given.")
        return None

    def extract(self, surface: Any, on_progress: Callable[[float], None]) -> trimesh.Trimesh:
        """The mesh of a surface in scene units, as the options ask for it."""
        from nf_plugins.exporters.mesh import extract_mesh
        from nf_plugins.exporters.principal_axes_mesh import PrincipalAxesSettings, extract_principal_axes_mesh

        if self.principal_axes:
            return extract_principal_axes_mesh(
                surface,
                PrincipalAxesSettings(self.resolution),
                grid=self.grid_settings(),
                with_colors=self.colors,
                on_progress=on_progress,
            )
        return extract_mesh(
            surface,
            self.grid_settings(),
            with_colors=self.colors,
            largest_component=self.largest_component,
            on_progress=on_progress,
        )

    def cull(self, mesh: trimesh.Trimesh, model: Any, dataset: Any) -> trimesh.Trimesh:
        """A mesh in scene units without what the masks of the training views exclude."""
        from nf_plugins.evaluation.dataset_images import refined_cameras
        from nf_plugins.evaluation.mask_culling import cull_by_masks, masks_of_dataset
        from nf_plugins.exporters.principal_axes_mesh import largest_component_by_area

        masks = masks_of_dataset(dataset, show_progress=False)
        rest = cull_by_masks(mesh, refined_cameras(model, dataset.cameras), masks, self.mask_dilation)
        keep_one = (self.principal_axes or self.largest_component) and len(rest.faces) > 0
        return largest_component_by_area(rest) if keep_one else rest


def entrypoint() -> None:
    """Console command ``nf-export``."""
    from nf_plugins.cli.export_points import ExportPoints

    commands = {"mesh": ExportMesh, "points": ExportPoints}
    tyro.extras.subcommand_cli_from_dict(commands, description=__doc__).main()  # type: ignore[attr-defined]


if __name__ == "__main__":
    entrypoint()
