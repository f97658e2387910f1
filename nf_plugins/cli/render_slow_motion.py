"""``nf-render slow-motion``: between the frames of a recording, from beside the camera that took it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from nf_plugins.cli.render_options import DEFAULT_FPS, RenderOptions
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nf_plugins.exporters.network_renders import RenderCount

SPANS = {"none": 8.0, "ellipse": 10.0}
"""Published numbers of frames to either side, by the camera's path."""
DEFAULT_STEP = 0.1


class SlowMotionPath(NamedTuple):
    """What is shown, one entry per image M."""

    frame: int
    """In the middle."""
    num_frames: int
    """Of the recording."""
    coordinates: Tensor
    """Frame coordinates ``(M,)``."""
    camera_to_worlds: Tensor
    """``(M, 3, 4)``."""


@dataclass
class RenderSlowMotion(RenderOptions):
    """Time runs slowly past the frames of a recording, the camera stands, wanders, or wanders while time stands."""

    frame: int | None = None
    """Frame in the middle of the video, counted from the first one trained on (default: the middle of the recording);
    where the camera stands, it stands where this frame was taken."""
    span: float | None = None
    """Frames to show before and after it, as far as the recording goes (default: 8, or 10 with --camera-wander
    ellipse)."""
    step: float | None = None
    """Frames of the recording from one image to the next; one over a whole number (default: 0.1)."""
    camera_wander: Literal["none", "ellipse", "loop"] = "none"
    """The camera stands; follows the recording camera, going round small ellipses; or goes round a small loop beside
    the frame's place while time stands."""
    near_distance: float | None = None
    """How far away, in scene units, is what wandering moves by 48 pixels (loop) or 32 (ellipse) to either side
    (default: where sampling begins, the near plane at 1 with --space ndc)."""

    def check(self) -> None:
        """Also the times, and options that would have no effect."""
        super().check()
        from nf_plugins.atomic_files import check_writable

        if self.camera_index != 0:
            raise InputError(f"--camera-index {self.camera_index}: slow motion takes its camera from --frame.")
        for option, value in (("--span", self.span), ("--step", self.step)):
            if self.camera_wander == "loop" and value is not None:
                raise InputError(
                    f"{option}: with --camera-wander loop time stands; use --num-frames, or another wander."
                )
        if self.camera_wander == "none" and self.near_distance is not None:
            raise InputError("--near-distance: the camera stands; it applies to --camera-wander loop and ellipse.")
        if self.camera_wander != "loop" and self.num_frames is not None:
            raise InputError("--num-frames: the number of images follows from --span and --step.")
        step = self.frames_per_image
        if not 0 < step <= 1 or abs(1 / step - round(1 / step)) > 1e-6:
            raise InputError(f"--step {step:g}: expected one over a whole number, such as 0.1 or 0.25.")
        if self.span is not None and not 0 < self.span < float("inf"):
            raise InputError(f"--span must be positive, found {self.span:g}.")
        if self.near_distance is not None and not 0 < self.near_distance < float("inf"):
            raise InputError(f"--near-distance must be positive, found {self.near_distance:g}.")
        check_writable(self.report_path)

    @property
    def frames_per_image(self) -> float:
        """The step, or its default."""
        return DEFAULT_STEP if self.step is None else self.step

    @property
    def report_path(self) -> Path:
        """The JSON file beside the video that says what it cost."""
        return self.output_path.with_suffix(".json")

    def cameras(self, dataset: Callable[[], Any]) -> tuple[Any, float]:
        """The cameras at their times."""
        from nf_plugins.exporters.trajectories import perspective_cameras
        from nf_plugins.exporters.wander_path import times_of_frames

        split = dataset()
        path = self.path(split)
        times = times_of_frames(path.coordinates, split.metadata["frame_times"])
        return perspective_cameras(split.cameras[:1], path.camera_to_worlds, times), self.fps or DEFAULT_FPS

    def path(self, split: Any) -> SlowMotionPath:
        """Frames and poses of all images.

        Raises:
            InputError: The data are no recording of one frame at a time, or there is no such frame.
        """
        import torch

        from nf_plugins.exporters.wander_path import (
            bullet_poses,
            frames_around,
            shifted_poses,
            wander_offsets,
        )

        metadata = getattr(split, "metadata", None) or {}
        poses = metadata.get("frame_camera_to_worlds")
        if poses is None:
            raise InputError(
                "Slow motion follows the camera of a monocular video, and the run's data do not say where it was (as "
                "those of nsff-data do): use nf-render time."
            )
        frame = len(poses) // 2 if self.frame is None else self.frame
        if not 0 <= frame < len(poses):
            raise InputError(f"--frame {frame}: the run has {len(poses)} frames, expected 0 to {len(poses) - 1}.")
        focal = float((split.cameras.fx[0] + split.cameras.fy[0]) / 2)
        near = metadata.get("near_distance", 1.0) if self.near_distance is None else self.near_distance
        if self.camera_wander == "loop":
            offsets = wander_offsets(focal, self.frame_count(), near)
            coordinates = torch.full((len(offsets),), float(frame), dtype=torch.float64)
            return SlowMotionPath(frame, len(poses), coordinates, shifted_poses(poses[frame], offsets))
        span = SPANS[self.camera_wander] if self.span is None else self.span
        coordinates = frames_around(frame, len(poses), span, round(1 / self.frames_per_image))
        if self.camera_wander == "ellipse":
            return SlowMotionPath(frame, len(poses), coordinates, bullet_poses(poses, coordinates, focal, near))
        return SlowMotionPath(frame, len(poses), coordinates, poses[frame].expand(len(coordinates), 3, 4))

    @contextmanager
    def opened_pipeline(self) -> Iterator[Any]:
        """Also counts, and writes what the video cost once it is done."""
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.atomic_files import write_json
        from nf_plugins.evaluation.dataset_images import dataset_for_split
        from nf_plugins.exporters.network_renders import counted_renders

        with super().opened_pipeline() as pipeline:
            with counted_renders(pipeline.model) as count:
                yield pipeline
            path = self.path(dataset_for_split(pipeline.datamanager, self.split))
        report = self.report(path, count)
        write_json(self.report_path, report)
        CONSOLE.print(
            f"{report['network_renders']} network renders for {report['num_images']} images "
            f"({report['naive_network_renders']} with every image on its own): {self.report_path}",
            soft_wrap=True,
        )

    def report(self, path: SlowMotionPath, count: RenderCount) -> dict[str, Any]:
        """What was shown and what it cost, plain values.

        Every image on its own takes both key times around it, as published; where none is made of them (time stands, or
        the network is asked for times between frames), one render.
        """
        num_images = len(path.coordinates)
        time_stands = self.camera_wander == "loop"
        return {
            "run": str(self.load_config),
            "video": self.output_path.name,
            "camera_wander": self.camera_wander,
            "frame": path.frame,
            "frames_of_the_recording": path.num_frames,
            "first_frame": float(path.coordinates[0]),
            "last_frame": float(path.coordinates[-1]),
            "step": 0.0 if time_stands else self.frames_per_image,
            "num_images": num_images,
            "ping_pong": self.ping_pong,
            "network_renders": count.total,
            "network_renders_of_key_times": count.key_times,
            "naive_network_renders": num_images * (2 if count.key_times else 1),
        }
