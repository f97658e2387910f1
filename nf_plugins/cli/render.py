"""``nf-render``: videos of a trained run in which time moves, the camera moves, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nf_plugins.errors import InputError


@dataclass
class RenderOptions:
    """What all modes have in common."""

    load_config: Path
    """The config.yml of a run, of any nerfstudio method."""
    output_path: Path
    """What to write, by its suffix: .mp4, .gif, or none for a folder of PNGs."""
    outputs: tuple[str, ...] = ("rgb",)
    """Model outputs side by side, e.g. rgb normal_rgb depth accumulation."""
    num_frames: int = 60
    """Number of rendered frames (a camera-path file has its own)."""
    fps: float | None = None
    """Frames per second of the video (default: that of the camera-path file, else 24)."""
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

    def main(self) -> None:
        """Load the run, render, and say where the result lies."""
        self.render()

    def cameras(self, dataset_cameras: Callable[[], Any]) -> tuple[Any, float]:
        """The cameras to render and the frames per second; ``dataset_cameras`` reads the split's when called."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.exporters.video import check_frame_output

        if not self.load_config.exists():
            raise InputError(f"--load-config {self.load_config} does not exist, expected the config.yml of a run.")
        if self.num_frames < 1:
            raise InputError(f"--num-frames must be at least 1, found {self.num_frames}.")
        if self.downscale <= 0 or (self.fps is not None and self.fps <= 0):
            raise InputError("--downscale and --fps must be positive.")
        check_frame_output(self.output_path)

    def render(self) -> None:
        """Everything after the arguments are read."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.engine.load_run import load_run
        from nf_plugins.evaluation.dataset_images import dataset_for_split
        from nf_plugins.exporters.rendering import OutputPainter, render_to_file
        from nf_plugins.exporters.trajectories import ping_pong
        from nf_plugins.progress import progress_bar

        _, pipeline, _, _ = load_run(self.load_config, test_mode="inference")
        cameras, fps = self.cameras(lambda: dataset_for_split(pipeline.datamanager, self.split).cameras)
        cameras.rescale_output_resolution(1.0 / self.downscale)
        order = ping_pong(len(cameras)) if self.ping_pong else list(range(len(cameras)))
        painter = OutputPainter(self.outputs, self.depth_range)
        with progress_bar() as progress:
            task = progress.add_task("Rendering", total=len(order))
            render_to_file(
                pipeline, cameras, self.output_path, painter, fps, order=order, on_frame=lambda: progress.advance(task)
            )
        CONSOLE.print(f"{len(order)} frames: {self.output_path}", soft_wrap=True)


@dataclass
class MovingCamera(RenderOptions):
    """Where a moving camera moves."""

    path: Literal["ring", "dataset"] = "ring"
    """A circle fitted to the split's cameras, or a walk from camera to camera of the split."""
    camera_path: Path | None = None
    """A camera-path JSON file of the viewer, instead of --path; its render_time is kept in mode both."""

    def moving_cameras(self, dataset_cameras: Callable[[], Any], times: Callable[[int], Any]) -> tuple[Any, float]:
        """Cameras along the path at the times that ``times`` gives for their number, and frames per second."""
        from nf_plugins.exporters.trajectories import interpolated_cameras, load_camera_path, ring_cameras, with_times

        if self.camera_path is not None:
            cameras, file_fps = load_camera_path(self.camera_path)
            return with_times(cameras, times(len(cameras))), self.fps or file_fps
        if self.path == "ring":
            return ring_cameras(dataset_cameras(), times(self.num_frames), self.camera_index), self.fps or 24.0
        return interpolated_cameras(dataset_cameras(), times(self.num_frames)), self.fps or 24.0


@dataclass
class RenderTime(RenderOptions):
    """Time moves, the camera stands at one of the dataset's."""

    time_range: tuple[float, float] = (0.0, 1.0)
    """First and last time, in [0, 1]."""

    def check(self) -> None:
        """Also the times."""
        super().check()
        _check_times("--time-range", self.time_range)

    def cameras(self, dataset_cameras: Callable[[], Any]) -> tuple[Any, float]:
        """The standing camera at all times."""
        from nf_plugins.exporters.trajectories import standing_camera, times_between

        times = times_between(*self.time_range, self.num_frames)
        return standing_camera(dataset_cameras(), self.camera_index, times), self.fps or 24.0


@dataclass
class RenderCamera(MovingCamera):
    """The camera moves, time stands."""

    fixed_time: float = 0.0
    """The time at which the scene stands still, in [0, 1]."""

    def check(self) -> None:
        """Also the time."""
        super().check()
        _check_times("--fixed-time", (self.fixed_time,))

    def cameras(self, dataset_cameras: Callable[[], Any]) -> tuple[Any, float]:
        """The moving camera at one time."""
        from nf_plugins.exporters.trajectories import times_between

        return self.moving_cameras(
            dataset_cameras, lambda count: times_between(self.fixed_time, self.fixed_time, count, "--fixed-time")
        )


@dataclass
class RenderBoth(MovingCamera):
    """Time and camera move together."""

    time_range: tuple[float, float] = (0.0, 1.0)
    """First and last time, in [0, 1]; a camera-path file with render_time has its own times."""

    def check(self) -> None:
        """Also the times."""
        super().check()
        _check_times("--time-range", self.time_range)

    def cameras(self, dataset_cameras: Callable[[], Any]) -> tuple[Any, float]:
        """The moving camera while time moves."""
        from nf_plugins.exporters.trajectories import load_camera_path, times_between

        if self.camera_path is not None:
            cameras, file_fps = load_camera_path(self.camera_path)
            if cameras.times is not None:
                return cameras, self.fps or file_fps
        return self.moving_cameras(dataset_cameras, lambda count: times_between(*self.time_range, count))


def _check_times(option: str, times: tuple[float, ...]) -> None:
    for time in times:
        if not 0.0 <= time <= 1.0:
            raise InputError(f"{option}: time {time:g} is outside the sequence, expected times in [0, 1].")


Commands = (
    Annotated[RenderTime, tyro.conf.subcommand(name="time")]
    | Annotated[RenderCamera, tyro.conf.subcommand(name="camera")]
    | Annotated[RenderBoth, tyro.conf.subcommand(name="both")]
)


def entrypoint() -> None:
    """Console command ``nf-render``."""
    tyro.cli(Commands, description=__doc__).main()  # type: ignore[arg-type]


if __name__ == "__main__":
    entrypoint()
