"""``nf-export points``: point clouds of a trained run over time, from the depth that it renders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nerfstudio.cameras.cameras import Cameras

INDEX = "points.json"
WHICH_CLOUDS = "Say which point clouds to export with exactly one of --times, --frames and --all-frames."


@dataclass
class ExportPoints:
    """One coloured point cloud per requested time, or of a still scene, from the depth that some cameras see."""

    load_config: Path
    """The config.yml of a run whose method renders depth and opacity (im4d, enerf, resfields-tnerf, ...)."""
    output_dir: Path
    """Folder for the point clouds (.ply, the data's own units) and points.json, which says what they are."""
    times: tuple[float, ...] = ()
    """Times in [0, 1] to export; give this, --frames or --all-frames, and none of them for a scene that stands still
    (it gives points.ply)."""
    frames: tuple[int, ...] = ()
    """Training frames to export, counted from 0."""
    all_frames: bool = False
    """Export every training frame."""
    frame_stride: int = 1
    """With --all-frames: only every n-th frame."""
    num_cameras: int = 20
    """How many of the training cameras to look from, spread evenly over them; at most all."""
    downscale: float = 1.0
    """Divide the cameras' resolution by this."""
    mask_erosion: int = 15
    """Side of a square in rendered pixels by which what is opaque is narrowed, since depth is wrong at its rim; 0 keeps
    the rim."""
    accumulation: float = 0.5
    """Opacity from which on a pixel gives a point."""
    voxel: float = 0.001
    """Keep one point per voxel of this edge, the mean of those in it, in the data's own units; 0 keeps all."""
    cache: str | None = None
    """Render with the run's occupancy cache of this tag, which nf-cache has made."""
    allow_other_checkpoint: bool = False
    """With --cache: take it even if it was made from another checkpoint."""
    data: Path | None = None
    """Export another scene of the same layout, with methods that can (enerf)."""

    def main(self) -> None:
        """Load the run, render and write every point cloud."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.cli.open_run import open_run

        config, pipeline, checkpoint, step = open_run(
            self.load_config,
            "inference",
            cache=self.cache,
            allow_other_checkpoint=self.allow_other_checkpoint,
            data=self.data,
        )
        header = {"method": config.method_name, "step": step, "checkpoint": str(checkpoint)}
        entries = self.export(pipeline, header)
        empty = [entry["file"] for entry in entries if entry["num_points"] == 0]
        CONSOLE.print(f"{len(entries)} point clouds: {self.output_dir}", soft_wrap=True)
        if empty:
            raise InputError(
                f"{len(empty)} of {len(entries)} point clouds are empty ({empty[0]}): nothing is opaque there, or "
                f"nothing is left after --mask-erosion {self.mask_erosion}; give a smaller one, or train longer."
            )

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.atomic_files import check_writable
        from nf_plugins.cli.open_run import check_run_options
        from nf_plugins.cli.render_options import check_run

        if sum([bool(self.times), bool(self.frames), self.all_frames]) > 1:
            raise InputError(WHICH_CLOUDS)
        for time in self.times:
            if not 0.0 <= time <= 1.0:
                raise InputError(f"--times: {time:g} is outside the sequence, expected times in [0, 1].")
        if self.frame_stride < 1 or (self.frame_stride > 1 and not self.all_frames):
            raise InputError(f"--frame-stride {self.frame_stride}: expected 1 or more, together with --all-frames.")
        if self.num_cameras < 1 or self.downscale <= 0 or self.mask_erosion < 0 or self.voxel < 0:
            raise InputError(
                f"--num-cameras {self.num_cameras} --downscale {self.downscale:g} --mask-erosion {self.mask_erosion} "
                f"--voxel {self.voxel:g}: expected at least one camera, a positive divisor, and nothing negative."
            )
        if not 0 <= self.accumulation < 1:
            raise InputError(f"--accumulation is {self.accumulation:g}, expected an opacity of at least 0 and below 1.")
        check_run("--load-config", self.load_config)
        check_run_options(self.cache, self.data)
        check_writable(self.output_dir / INDEX)

    def export(self, pipeline: Any, header: dict[str, Any]) -> list[dict[str, Any]]:
        """Render and write the point clouds; ``points.json`` comes last.

        Args:
            pipeline: In evaluation mode.
            header: What ``points.json`` says of the run.

        Returns:
            The entries of ``points.json``.
        """
        import torch

        from nf_plugins.atomic_files import write_json
        from nf_plugins.exporters.depth_points import median_depth_points, one_per_voxel, write_points
        from nf_plugins.exporters.trajectories import with_times
        from nf_plugins.progress import progress_bar

        dataset = pipeline.datamanager.train_dataset
        requests = self.requested(dataset)
        cameras = self.cameras(dataset)
        entries: list[dict[str, Any]] = []
        with progress_bar() as progress:
            task = progress.add_task("Rendering depth", total=len(requests) * len(cameras))
            for name, time, frame in requests:
                of_time = cameras if time is None else with_times(cameras, torch.full((len(cameras),), time))
                points, colors = median_depth_points(
                    pipeline,
                    of_time,
                    mask_erosion=self.mask_erosion,
                    accumulation=self.accumulation,
                    on_camera=lambda: progress.advance(task),
                )
                points, colors = one_per_voxel(points, colors, self.voxel)
                write_points(self.output_dir / name, points, colors)
                entries.append({"file": name, "time": time, "frame_id": frame, "num_points": len(points)})
        matrix = dataset.metadata.get("world_from_scene")
        content = {
            **header,
            "units": "scene" if matrix is None else "world",
            "num_cameras": len(cameras),
            "mask_erosion": self.mask_erosion,
            "voxel": self.voxel,
            "points": entries,
        }
        write_json(self.output_dir / INDEX, content)
        return entries

    def cameras(self, dataset: Any) -> Cameras:
        """The training cameras to look from, at the resolution that the options ask for."""
        import torch

        from nf_plugins.exporters.trajectories import distinct_cameras

        distinct = distinct_cameras(dataset.cameras)
        count = min(self.num_cameras, len(distinct))
        chosen = (torch.arange(count) * len(distinct)) // count
        cameras = distinct[chosen]
        cameras.rescale_output_resolution(1.0 / self.downscale)
        return cameras

    def requested(self, dataset: Any) -> list[tuple[str, float | None, int | None]]:
        """File name, time and frame of every point cloud; a still scene has neither.

        Raises:
            InputError: For a frame that does not exist, times of a scene that has none, or no times of one that has.
        """
        from nf_plugins.evaluation.evaluate_views import is_still

        if is_still(dataset):
            if self.times or self.frames or self.all_frames:
                raise InputError(
                    "--times, --frames and --all-frames: the scene of this run stands still, so there is one point "
                    "cloud; leave them out."
                )
            return [("points.ply", None, None)]
        if self.times:
            return [(f"time_{time:.6f}.ply", time, None) for time in self.times]
        if not (self.frames or self.all_frames):
            raise InputError(WHICH_CLOUDS)
        frame_times = dataset.metadata.get("frame_times")
        if frame_times is None:
            raise InputError("--frames: this run knows no training frames; use --times.")
        frames = range(0, len(frame_times), self.frame_stride) if self.all_frames else self.frames
        for frame in frames:
            if not 0 <= frame < len(frame_times):
                raise InputError(
                    f"--frames: frame {frame} is outside the sequence, expected 0 to {len(frame_times) - 1}."
                )
        return [(f"frame_{frame:06d}.ply", float(frame_times[frame]), frame) for frame in frames]
