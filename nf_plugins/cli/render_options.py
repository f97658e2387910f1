"""What the modes of ``nf-render`` that render a run have in common: options, moving cameras."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nf_plugins.cli.render_path_options import RING_PATHS, RingPathOptions
from nf_plugins.errors import InputError

DEFAULT_FPS = 24.0
DEFAULT_NUM_FRAMES = 60


@dataclass
class RenderOptions:
    """What all modes have in common."""

    load_config: Path
    """The config.yml of a run, of any nerfstudio method."""
    output_path: Path
    """What to write, by its suffix: .mp4, .gif, or none for a folder of PNGs."""
    outputs: tuple[str, ...] = ("rgb",)
    """Model outputs side by side, e.g. rgb normal_rgb depth accumulation."""
    num_frames: int | None = None
    """Number of rendered frames (default: 60; 100 for --path between, 30 for --path orbit; those of a video in mode
    time; a camera-path file has its own)."""
    fps: float | None = None
    """Frames per second of the video (default: that of the camera-path file or of the video trained on, else 24)."""
    downscale: float = 1.0
    """Divide the cameras' resolution by this."""
    ping_pong: bool = False
    """Play forwards and then backwards, so that the video loops without a jump."""
    split: Literal["train", "val", "test"] = "train"
    """Whose cameras to use."""
    camera_index: int = 0
    """The camera of the split that stands, that lends its intrinsics, or where the ring starts."""
    depth_range: tuple[float, float] | None = None
    """Nearest and farthest depth of the colour map in scene units (default: from the first frame)."""
    cache: str | None = None
    """Render with the run's occupancy cache of this tag, which nf-cache has made: faster, nearly the same images."""
    allow_other_checkpoint: bool = False
    """With --cache: take it even if it was made from another checkpoint."""
    data: Path | None = None
    """Render another scene of the same layout, with methods that can (enerf)."""

    def main(self) -> None:
        """Load the run, render, and say where the result lies."""
        self.render()

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The cameras to render and the frames per second; ``dataset`` reads the split's when called."""
        raise NotImplementedError

    @contextmanager
    def opened_pipeline(self) -> Iterator[Any]:
        """What renders, within this context."""
        from nf_plugins.cli.open_run import open_run

        _, pipeline, _, _ = open_run(
            self.load_config,
            "inference",
            cache=self.cache,
            allow_other_checkpoint=self.allow_other_checkpoint,
            data=self.data,
        )
        yield pipeline

    def check_runs(self) -> None:
        """Raise InputError where a run to load is not there."""
        check_run("--load-config", self.load_config)

    def frame_count(self) -> int:
        """The number of frames where no camera-path file gives one."""
        return self.num_frames or DEFAULT_NUM_FRAMES

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.cli.open_run import check_run_options
        from nf_plugins.exporters.video import check_frame_output

        self.check_runs()
        check_run_options(self.cache, self.data)
        if self.num_frames is not None and self.num_frames < 1:
            raise InputError(f"--num-frames must be at least 1, found {self.num_frames}.")
        if self.downscale <= 0 or (self.fps is not None and self.fps <= 0):
            raise InputError("--downscale and --fps must be positive.")
        check_frame_output(self.output_path)

    def render(self) -> None:
        """Everything after the arguments are read."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.evaluation.dataset_images import dataset_for_split
        from nf_plugins.exporters.rendering import OutputPainter, render_to_file
        from nf_plugins.exporters.trajectories import ping_pong
        from nf_plugins.progress import progress_bar

        with self.opened_pipeline() as pipeline:
            cameras, fps = self.cameras(lambda: dataset_for_split(pipeline.datamanager, self.split))
            cameras.rescale_output_resolution(1.0 / self.downscale)
            order = ping_pong(len(cameras)) if self.ping_pong else list(range(len(cameras)))
            painter = OutputPainter(self.outputs, self.depth_range)
            moments: list[float] = []
            with progress_bar() as progress:
                task = progress.add_task("Rendering", total=len(order))

                def on_frame() -> None:
                    moments.append(time.perf_counter())
                    progress.advance(task)

                render_to_file(pipeline, cameras, self.output_path, painter, fps, order=order, on_frame=on_frame)
        CONSOLE.print(f"{len(order)} frames: {self.output_path}", soft_wrap=True)
        rendered = moments[: len(cameras)]  # what ping-pong shows again is not rendered again
        if len(rendered) > 1:
            seconds = (rendered[-1] - rendered[0]) / (len(rendered) - 1)
            CONSOLE.print(f"{seconds:.3g} seconds per frame, the first left out")


@dataclass
class MovingCamera(RingPathOptions, RenderOptions):
    """Where a moving camera moves."""

    path: Literal["ring", "circle", "spiral", "dataset", "between", "orbit"] = "ring"
    """A level circle at the mean height of the split's cameras, a circle or a spiral in the plane in which they stand,
    a walk from camera to camera of the split, a way between two, or a smooth loop past some of them that looks at the
    scene's origin."""
    between_cameras: tuple[str, str] | None = None
    """With --path between: the cameras to start and to end at, by name (cam_train_3) or number, from 0."""
    easing: Literal["sine", "linear"] = "sine"
    """With --path between: start and stop gently, or move at an even pace."""
    orbit_views: tuple[int, ...] | None = None
    """With --path orbit: cameras to pass, by number, from 0, in order and back to the first (default: 11 16 34 28, as
    the original for DTU; with fewer than 35 cameras those at the same places among them)."""
    orbit_radius: tuple[float, float] = (3.8, 4.2)
    """With --path orbit: least and greatest distance from the origin, scene units."""
    camera_path: Path | None = None
    """A camera-path JSON file of the viewer, instead of --path; its render_time is kept in mode both."""

    def check(self) -> None:
        """Also the cameras to move between."""
        super().check()
        self.check_path(None if self.camera_path is not None else self.path)
        if (self.path == "between") != (self.between_cameras is not None):
            raise InputError(
                "--path between needs --between-cameras FIRST SECOND, and --between-cameras needs --path between."
            )
        if self.between_cameras is not None and self.between_cameras[0] == self.between_cameras[1]:
            raise InputError(f"--between-cameras names {self.between_cameras[0]} twice, expected two cameras.")
        if self.orbit_views is not None and self.path != "orbit":
            raise InputError("--orbit-views needs --path orbit.")
        if not 0 < self.orbit_radius[0] <= self.orbit_radius[1]:
            raise InputError(
                f"--orbit-radius {self.orbit_radius[0]:g} {self.orbit_radius[1]:g}: expected two positive distances, "
                "the smaller one first."
            )

    def frame_count(self) -> int:
        """As many frames as the originals have: 100 between two cameras, 30 on the orbit."""
        return self.num_frames or {"between": 100, "orbit": 30}.get(self.path, DEFAULT_NUM_FRAMES)

    def moving_cameras(self, dataset: Callable[[], Any], times: Callable[[int], Any]) -> tuple[Any, float]:
        """Cameras along the path at the times that ``times`` gives for their number, and frames per second.

        Where there are more times than they were asked for, there are as many poses.
        """
        cameras, fps = self.path_cameras(dataset, times)
        return self.with_zoom(cameras), fps

    def path_cameras(self, dataset: Callable[[], Any], times: Callable[[int], Any]) -> tuple[Any, float]:
        """The same without zoom."""
        from nf_plugins.exporters.trajectories import circling_path, interpolated_cameras, load_camera_path, with_times

        fps = self.fps or DEFAULT_FPS
        if self.camera_path is not None:
            cameras, file_fps = load_camera_path(self.camera_path)
            return with_times(cameras, times(len(cameras))), self.fps or file_fps
        frame_times, split = times(self.frame_count()), dataset()
        if self.path == "ring":
            return circling_path(split.cameras, frame_times, self.camera_index), fps
        if self.path in RING_PATHS:
            return self.ring_cameras(split, frame_times, self.path, self.camera_index), fps
        if self.path == "orbit":
            from nf_plugins.exporters.orbit import orbit_cameras

            orbit = orbit_cameras(split.cameras, frame_times, self.orbit_views, self.orbit_radius, self.camera_index)
            return orbit, fps
        if self.between_cameras is None:
            return interpolated_cameras(split.cameras, frame_times), fps
        from nf_plugins.exporters.camera_transition import camera_index, transition_cameras

        names = (getattr(split, "metadata", None) or {}).get("camera_names")
        start, end = (camera_index(split.cameras, wanted, names) for wanted in self.between_cameras)
        return transition_cameras(split.cameras, start, end, frame_times, self.easing), fps


def check_run(option: str, path: Path) -> None:
    """Raise InputError where there is nothing at the path that an option gives."""
    if not path.exists():
        raise InputError(f"{option} {path} does not exist, expected the config.yml of a run.")
