"""A video of a moving camera becomes NSFF's layout: frames, poses, optical flow, motion masks, inverse depth."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE
from numpy.typing import NDArray

from nf_plugins.atomic_files import check_writable, write_json
from nf_plugins.data.monocular_video import depth_bounds
from nf_plugins.data.poses_bounds import PosesBounds, write_poses_bounds
from nf_plugins.data.processing import monocular_stages as stages
from nf_plugins.data.processing.frame_flow import given_flow
from nf_plugins.data.processing.frame_sources import open_source, read_frames
from nf_plugins.data.processing.known_cameras import find_colmap
from nf_plugins.data.processing.monocular_cameras import (
    FrameCameras,
    read_frame_cameras,
    require_colmap,
    run_colmap_on,
)
from nf_plugins.data.processing.monocular_choices import DepthChoice, choose_depth, choose_flow
from nf_plugins.data.processing.monocular_plan import (
    COLMAP_FOLDER,
    IMAGE_FPS,
    TURNING_CAMERA,
    Recording,
    check_cameras,
    check_options,
    look_at,
    plan_stages,
)
from nf_plugins.data.processing.monocular_report import PREVIEW_FILE, REPORT_FILE, write_report
from nf_plugins.data.processing.monocular_scene import MonocularScene
from nf_plugins.data.processing.optical_flow import FlowEstimator
from nf_plugins.data.processing.options import MonocularVideoOptions
from nf_plugins.data.processing.stage_log import Stage, StageLog, Warnings
from nf_plugins.data.writers.nsff_files import NsffFolder, write_image
from nf_plugins.errors import InputError
from nf_plugins.progress import progress_bar

COMMAND = "monocular-video"
FEW_FRAMES = 10
WITHOUT_DEPTH = ["--pipeline.model.loss-coefficients.depth", "0"]
"""What the method has to be told where no depth is written."""


def process_monocular_video(options: MonocularVideoOptions) -> str:
    """Makes what is missing in the output folder; returns the ns-train command for it.

    Raises:
        InputError: Something is missing, damaged or does not fit. Nothing has been written then, unless it came to
            light while a stage was made (COLMAP, a camera that does not move): earlier stages are kept.
    """
    log = StageLog(options.output_dir, COMMAND)
    check_options(options)
    recording = look_at(options)
    cameras = None
    if options.poses is not None:
        cameras = read_frame_cameras(
            options.poses, recording.source, recording.indices, recording.size, convention=options.pixel_convention
        )
        check_cameras(options, cameras)
    elif not has_colmap_model(log):
        require_colmap()
    depth = choose_depth(options, log)
    estimator = choose_flow(options, log)
    planned = plan_stages(options, recording, cameras, estimator, depth.backend, log=log)
    log.require_fresh(planned, options.overwrite)
    check_writable(options.output_dir / REPORT_FILE)
    log.clear(planned)
    log.content["options"] = asdict(options)
    log.save()
    return _Run(options, recording, log, planned).make(cameras, estimator, depth)


def has_colmap_model(log: StageLog) -> bool:
    """Whether an earlier run had COLMAP finish."""
    return log.finished("colmap") and find_colmap(log.folder / COLMAP_FOLDER) is not None


class _Run:
    """The stages of one call, in their order."""

    def __init__(
        self, options: MonocularVideoOptions, recording: Recording, log: StageLog, planned: dict[str, Stage]
    ) -> None:
        self.options = options
        self.recording = recording
        self.log = log
        self.planned = planned
        self.warnings = Warnings()

    def make(self, cameras: FrameCameras | None, estimator: FlowEstimator | None, depth: DepthChoice) -> str:
        """All of it; returns the ns-train command.

        Args:
            cameras: None where COLMAP is to find them.
            estimator: Of flow; None where it is read from files.
            depth: Where it comes from.
        """
        options = self.options
        if len(self.recording.indices) < FEW_FRAMES:
            self.warnings.say(
                f"{len(self.recording.indices)} frames are few for space-time view synthesis; around 30 work best."
            )
        if cameras is None:
            cameras = self.run_colmap()
            # What was made with other cameras of COLMAP is as stale as with other ones that are given.
            self.planned = plan_stages(options, self.recording, cameras, estimator, depth.backend, log=self.log)
            self.log.require_fresh(self.planned, options.overwrite)
            self.log.clear(self.planned)
        scene = self.make_frames(cameras)
        self.make_flow(scene, cameras, estimator)
        self.make_motion_masks(scene, cameras)
        depth_facts = self.make_depth(scene, cameras, depth)
        bounds, bounds_source = self.bounds_of(scene, cameras)
        target = check_cameras(options, cameras)
        poses = PosesBounds(cameras.camera_to_worlds, bounds, target.height, target.width, target.fx)
        write_poses_bounds(scene.folder.poses, poses)
        write_json(scene.folder.facts, {"pixel_convention": cameras.pixel_convention})
        facts = {
            "poses": cameras.source,
            "bounds": {"source": bounds_source, "near": float(bounds[:, 0].min()), "far": float(bounds[:, 1].max())},
            "flow": "folder" if estimator is None else estimator.name,
            "depth": depth_facts,
        }
        self.say(write_report(scene, self.warnings, facts))
        without = WITHOUT_DEPTH if depth_facts["source"] == "none" else []
        return shlex.join(["ns-train", "nsff", "--data", str(options.output_dir), *without, "nsff-data"])

    def begin(self, name: str) -> None:
        """Enters a stage into the log."""
        self.log.begin(name, self.planned[name])

    def run_colmap(self) -> FrameCameras:
        """COLMAP's cameras, found now or by an earlier run."""
        folder = self.options.output_dir / COLMAP_FOLDER
        images, indices = folder / "images", self.recording.indices
        self.begin("colmap")
        if not has_colmap_model(self.log):
            require_colmap()
            # COLMAP writes into its folder as it goes; what is in ours is whole.
            unfinished = folder / "unfinished"
            for half_done in (unfinished, folder / "sparse"):
                shutil.rmtree(half_done, ignore_errors=True)
            unfinished.mkdir(parents=True)
            with progress_bar() as progress:
                task = progress.add_task("Frames for COLMAP", total=len(indices))
                for number, frame in enumerate(read_frames(self.recording.source, indices)):
                    write_image(images / f"{number:05d}.png", frame)
                    progress.advance(task)
            run_colmap_on(images, unfinished, self.options.colmap_matching)
            (unfinished / "sparse").rename(folder / "sparse")
            shutil.rmtree(unfinished)
            self.log.finish("colmap")
        taken = open_source(images, IMAGE_FPS)
        cameras = read_frame_cameras(folder, taken, list(range(len(indices))), self.recording.size, numbers=indices)
        check_cameras(self.options, cameras)
        return cameras

    def make_frames(self, cameras: FrameCameras) -> MonocularScene:
        """The frames at both sizes."""
        options = self.options
        target = check_cameras(options, cameras)
        height = min(options.resize_height, target.height)
        if height < options.resize_height:
            CONSOLE.print(f"The frames are {height} pixels high and stay so (--resize-height {options.resize_height}).")
        width = round(target.width * height / target.height)
        folder = NsffFolder(options.output_dir, height, width)
        self.begin("frames")
        stages.write_frames(self.recording.source, self.recording.indices, cameras.lenses, target, folder)
        self.log.finish("frames", size=[height, width])
        return MonocularScene(folder, cameras.training_lens(target, height, width), cameras.camera_to_worlds)

    def make_flow(self, scene: MonocularScene, cameras: FrameCameras, estimator: FlowEstimator | None) -> None:
        """Between neighbours, searched or from files."""
        self.begin("flow")
        if estimator is not None:
            search = stages.searched_flow(scene, estimator, self.options.flow_long_side)
            stages.write_flows(scene, search, estimator.name)
        elif self.recording.flow_files is not None:
            target = check_cameras(self.options, cameras)
            read = given_flow(self.recording.flow_files, cameras.lenses, target, scene.size)
            stages.write_flows(scene, read, "files")
        self.log.finish("flow")

    def make_motion_masks(self, scene: MonocularScene, cameras: FrameCameras) -> None:
        """From flow, given masks, or both."""
        given = None
        if self.recording.mask_files is not None:
            target = check_cameras(self.options, cameras)
            given = stages.given_mask(self.recording.mask_files, cameras.lenses, target, scene.size)
        self.begin("motion_masks")
        stages.write_motion_masks(scene, self.options.epipolar_threshold, given)
        self.log.finish("motion_masks")

    def make_depth(self, scene: MonocularScene, cameras: FrameCameras, depth: DepthChoice) -> dict[str, Any]:
        """Inverse depth, or a line that there is none; returns what the report says of it."""
        self.begin("depth")
        facts: dict[str, Any] = {"source": depth.backend}
        if depth.network is not None:
            stages.write_network_depth(scene, depth.network)
            facts["model"] = self.options.depth_model
        elif depth.backend == "folder" and self.recording.depth_files is not None:
            target = check_cameras(self.options, cameras)
            read = stages.given_depth(
                self.recording.depth_files, self.options.depth_kind, cameras.lenses, target, scene.size
            )
            stages.write_depth_of_files(scene, read)
        elif depth.backend == "triangulated":
            facts |= self.triangulate(scene)
        if facts["source"] == "none":
            CONSOLE.print(
                "[yellow]No depth is written: train without its loss, as the command below does.", soft_wrap=True
            )
        self.log.finish("depth", **facts)
        return facts

    def triangulate(self, scene: MonocularScene) -> dict[str, Any]:
        """Depth of what stands still, if the camera moves enough.

        Raises:
            InputError: It does not, and nothing else is allowed.
        """
        span = self.options.triangulation_span
        share = stages.triangulation_share(scene, span) if scene.moves else 0.0
        facts: dict[str, Any] = {"triangulated_share_of_standing_pixels": share}
        reason = TURNING_CAMERA
        if share >= stages.LEAST_SHARE_TRIANGULATED:
            without = stages.write_triangulated_depth(scene, span)
            if without is None:
                return facts
            number = self.recording.indices[without]
            reason = (
                f"Nothing of frame {number} can be triangulated: all of it moves, or its camera does not, or its flow "
                "is trusted nowhere."
            )
        elif scene.moves:
            reason = (
                f"Flow and poses agree on a depth of {100 * share:.0f} % of what stands still alone: the camera only "
                "turns or hardly moves, or the poses are wrong."
            )
        if self.options.depth_backend == "triangulated":
            raise InputError(
                f"{reason} Give depth with --depth-folder, or --depth-backend none, and --overwrite to go on in the "
                "same folder."
            )
        self.warnings.say(reason)
        # Of all frames or of none: an earlier run may have written some.
        shutil.rmtree(scene.folder.disparity(0).parent, ignore_errors=True)
        return {**facts, "source": "none"}

    def bounds_of(self, scene: MonocularScene, cameras: FrameCameras) -> tuple[NDArray[np.float64], str]:
        """Near and far (N, 2), and where they are from.

        Raises:
            InputError: Nothing says them.
        """
        if self.options.bounds is not None:
            return np.tile(np.array(self.options.bounds, dtype=np.float64), (len(scene), 1)), "--bounds"
        if cameras.bounds is not None:
            return cameras.bounds, "the poses' file"
        if cameras.points is not None:
            found = [depth_bounds(cameras.points, pose, scene.lens) for pose in cameras.camera_to_worlds]
            seen = [bounds for bounds in found if bounds is not None and bounds[0] < bounds[1]]
            if len(seen) == len(scene):
                return np.stack(seen), "points"
        bounds = stages.triangulated_bounds(scene, self.options.triangulation_span) if scene.moves else None
        if bounds is None or not (bounds[:, 0] < bounds[:, 1]).all():
            raise InputError(
                "It cannot be told how near and far things are (the poses' file has neither depths nor points, and "
                "flow gives none), expected --bounds NEAR FAR in the poses' units."
            )
        return bounds, "triangulated flow"

    def say(self, report: dict[str, Any]) -> None:
        """The most telling numbers of the report."""
        cycle = report["cycle_valid_ratio"]["forward"]["mean"]
        CONSOLE.print(
            f"{report['registered_frames']} frames registered; motion masks cover "
            f"{100 * report['mask_ratio']['mean']:.1f} %; flow is confirmed on {100 * cycle:.1f} %; depth: "
            f"{report['depth']['source']}. Look at {self.options.output_dir / PREVIEW_FILE}.",
            soft_wrap=True,
            highlight=False,
        )
