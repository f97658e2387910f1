"""``nf-render``: videos of a trained run in which time moves, the camera moves, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from nf_plugins.cli.render_meshes import RenderMeshes
from nf_plugins.errors import InputError

DEFAULT_FPS = 24.0
DEFAULT_NUM_FRAMES = 60
DEFAULT_TRANSITION_FRAMES = 100


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
    """Number of rendered frames (default: 60; 100 for --path between; those of a video in mode time; a camera-path file
    has its own)."""
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

    def main(self) -> None:
        """Load the run, render, and say where the result lies."""
        self.render()

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The cameras to render and the frames per second; ``dataset`` reads the split's when called."""
        raise NotImplementedError

    def frame_count(self) -> int:
        """The number of frames where no camera-path file gives one."""
        return self.num_frames or DEFAULT_NUM_FRAMES

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before the run is loaded."""
        from nf_plugins.exporters.video import check_frame_output

        if not self.load_config.exists():
            raise InputError(f"--load-config {self.load_config} does not exist, expected the config.yml of a run.")
        if self.num_frames is not None and self.num_frames < 1:
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
        cameras, fps = self.cameras(lambda: dataset_for_split(pipeline.datamanager, self.split))
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

    path: Literal["ring", "dataset", "between"] = "ring"
    """A circle fitted to the split's cameras, a walk from camera to camera of the split, or a way between two."""
    between_cameras: tuple[str, str] | None = None
    """With --path between: the cameras to start and to end at, by name (cam_train_3) or number, from 0."""
    easing: Literal["sine", "linear"] = "sine"
    """With --path between: start and stop gently, or move at an even pace."""
    camera_path: Path | None = None
    """A camera-path JSON file of the viewer, instead of --path; its render_time is kept in mode both."""

    def check(self) -> None:
        """Also the cameras to move between."""
        super().check()
        if (self.path == "between") != (self.between_cameras is not None):
            raise InputError(
                "--path between needs --between-cameras FIRST SECOND, and --between-cameras needs --path between."
            )
        if self.between_cameras is not None and self.between_cameras[0] == self.between_cameras[1]:
            raise InputError(f"--between-cameras names {self.between_cameras[0]} twice, expected two cameras.")

    def frame_count(self) -> int:
        """The original's 100 frames between two cameras."""
        return self.num_frames or (DEFAULT_TRANSITION_FRAMES if self.path == "between" else DEFAULT_NUM_FRAMES)

    def moving_cameras(self, dataset: Callable[[], Any], times: Callable[[int], Any]) -> tuple[Any, float]:
        """Cameras along the path at the times that ``times`` gives for their number, and frames per second."""
        from nf_plugins.exporters.trajectories import circling_path, interpolated_cameras, load_camera_path, with_times

        fps = self.fps or DEFAULT_FPS
        if self.camera_path is not None:
            cameras, file_fps = load_camera_path(self.camera_path)
            return with_times(cameras, times(len(cameras))), self.fps or file_fps
        frame_times, split = times(self.frame_count()), dataset()
        if self.path == "ring":
            return circling_path(split.cameras, frame_times, self.camera_index), fps
        if self.between_cameras is None:
            return interpolated_cameras(split.cameras, frame_times), fps
        from nf_plugins.exporters.camera_transition import camera_index, transition_cameras

        names = (getattr(split, "metadata", None) or {}).get("camera_names")
        start, end = (camera_index(split.cameras, wanted, names) for wanted in self.between_cameras)
        return transition_cameras(split.cameras, start, end, frame_times, self.easing), fps


@dataclass
class RenderTime(RenderOptions):
    """Time moves, the camera stands at one of the dataset's."""

    time_range: tuple[float, float] = (0.0, 1.0)
    """First and last time, in [0, 1]."""

    def check(self) -> None:
        """Also the times."""
        super().check()
        _check_times("--time-range", self.time_range)

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The standing camera at all times."""
        from nf_plugins.exporters.trajectories import standing_camera, times_between

        split = dataset()
        num_frames, fps = self.frame_count(), self.fps or DEFAULT_FPS
        metadata = getattr(split, "metadata", None) or {}
        if "picture_size" in metadata:
            # A video is shown as it was taken: its own frames at their rate.
            steps = (len(metadata["frame_times"]) - 1) * abs(self.time_range[1] - self.time_range[0])
            num_frames, fps = self.num_frames or round(steps) + 1, self.fps or metadata.get("fps") or DEFAULT_FPS
        times = times_between(*self.time_range, num_frames)
        return standing_camera(split.cameras, self.camera_index, times), fps


@dataclass
class RenderCamera(MovingCamera):
    """The camera moves, time stands."""

    fixed_time: float = 0.0
    """The time at which the scene stands still, in [0, 1]."""

    def check(self) -> None:
        """Also the time."""
        super().check()
        _check_times("--fixed-time", (self.fixed_time,))

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The moving camera at one time."""
        from nf_plugins.exporters.trajectories import times_between

        return self.moving_cameras(
            dataset, lambda count: times_between(self.fixed_time, self.fixed_time, count, "--fixed-time")
        )


@dataclass
class RenderBoth(MovingCamera):
    """Time and camera move together."""

    time_range: tuple[float, float] = (0.0, 1.0)
    """First and last time, in [0, 1]; a camera-path file with render_time has its own times."""
    time_order: Literal["auto", "forward", "forward-backward"] = "auto"
    """Let time run once, or forward and then backward; auto is backward too with --path between."""

    def check(self) -> None:
        """Also the times."""
        super().check()
        _check_times("--time-range", self.time_range)

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The moving camera while time moves."""
        from nf_plugins.exporters.trajectories import load_camera_path, times_between

        if self.camera_path is not None:
            cameras, file_fps = load_camera_path(self.camera_path)
            if cameras.times is not None:
                return cameras, self.fps or file_fps
        if self.time_order == "forward-backward" or (self.time_order == "auto" and self.path == "between"):
            from nf_plugins.exporters.camera_transition import forward_and_backward_times

            return self.moving_cameras(dataset, lambda count: forward_and_backward_times(*self.time_range, count))
        return self.moving_cameras(dataset, lambda count: times_between(*self.time_range, count))


def _check_times(option: str, times: tuple[float, ...]) -> None:
    for time in times:
        if not 0.0 <= time <= 1.0:
            raise InputError(f"{option}: time {time:g} is outside the sequence, expected times in [0, 1].")


Commands = (
    Annotated[RenderTime, tyro.conf.subcommand(name="time")]
    | Annotated[RenderCamera, tyro.conf.subcommand(name="camera")]
    | Annotated[RenderBoth, tyro.conf.subcommand(name="both")]
    | Annotated[RenderMeshes, tyro.conf.subcommand(name="meshes")]
)


def entrypoint() -> None:
    """Console command ``nf-render``."""
    tyro.cli(Commands, description=__doc__).main()  # type: ignore[arg-type]


if __name__ == "__main__":
    entrypoint()
