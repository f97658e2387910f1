"""``nf-render``: videos of a trained run in which time moves, the camera moves, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from nf_plugins.cli.render_meshes import RenderMeshes
from nf_plugins.cli.render_options import DEFAULT_FPS, MovingCamera, RenderOptions
from nf_plugins.cli.render_slow_motion import RenderSlowMotion
from nf_plugins.cli.render_snapshots import RenderSnapshots
from nf_plugins.cli.render_transfer import RenderTransfer
from nf_plugins.errors import InputError


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
    freeze_times: tuple[float, ...] = ()
    """Moments in [0, 1] at which time stands while the camera goes on (bullet time)."""
    freeze_frames: int = 80
    """How many more frames each of these lasts; they come on top of --num-frames."""

    def check(self) -> None:
        """Also the times."""
        super().check()
        _check_times("--time-range", self.time_range)
        _check_times("--freeze-times", self.freeze_times)
        if self.freeze_frames < 1:
            raise InputError(f"--freeze-frames must be at least 1, found {self.freeze_frames}.")
        if self.freeze_times and self.camera_path is not None:
            raise InputError("--freeze-times: a camera-path file has its own times and poses; leave one out.")

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The moving camera while time moves."""
        from nf_plugins.exporters.path_schedules import bullet_time
        from nf_plugins.exporters.trajectories import load_camera_path, times_between

        if self.camera_path is not None:
            cameras, file_fps = load_camera_path(self.camera_path)
            if cameras.times is not None:
                return self.with_zoom(cameras), self.fps or file_fps
        moving_times = times_between
        if self.time_order == "forward-backward" or (self.time_order == "auto" and self.path == "between"):
            from nf_plugins.exporters.camera_transition import forward_and_backward_times as moving_times

        return self.moving_cameras(
            dataset,
            lambda count: bullet_time(moving_times(*self.time_range, count), self.freeze_times, self.freeze_frames),
        )


def _check_times(option: str, times: tuple[float, ...]) -> None:
    for time in times:
        if not 0.0 <= time <= 1.0:
            raise InputError(f"{option}: time {time:g} is outside the sequence, expected times in [0, 1].")


Commands = (
    Annotated[RenderTime, tyro.conf.subcommand(name="time")]
    | Annotated[RenderCamera, tyro.conf.subcommand(name="camera")]
    | Annotated[RenderBoth, tyro.conf.subcommand(name="both")]
    | Annotated[RenderSlowMotion, tyro.conf.subcommand(name="slow-motion")]
    | Annotated[RenderTransfer, tyro.conf.subcommand(name="transfer")]
    | Annotated[RenderMeshes, tyro.conf.subcommand(name="meshes")]
    | Annotated[RenderSnapshots, tyro.conf.subcommand(name="snapshots")]
)


def entrypoint() -> None:
    """Console command ``nf-render``."""
    tyro.cli(Commands, description=__doc__).main()  # type: ignore[arg-type]


if __name__ == "__main__":
    entrypoint()
