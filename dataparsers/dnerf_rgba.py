"""D-NeRF's synthetic scenes with their alpha channel kept as the foreground mask.

::

    SCENE/
      transforms_train.json, transforms_val.json, transforms_test.json
          camera_angle_x, frames[]: file_path ("./train/r_000", without suffix), time, transform_matrix
      train/*.png, val/*.png, test/*.png    RGBA, straight alpha

``transform_matrix`` is an OpenGL camera-to-world matrix. Only files named by the JSON are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data import validation
from nf_plugins.data.camera_conventions import focal_from_field_of_view, require_rigid_pose
from nf_plugins.data.dataparser_outputs import background_tensor, downscaled_size, require_downscale_factor
from nf_plugins.data.layouts import layout_hint
from nf_plugins.errors import InputError

SCENES_WITH_ANOTHER_TEST_POSE = ("lego",)
"""The published lego scene shows in its test split a pose of the shovel that no training time has."""


@dataclass
class DNeRFRGBADataParserConfig(DataParserConfig):
    """D-NeRF scenes (transforms_{train,val,test}.json with times); the alpha channel becomes the foreground mask."""

    _target: type = field(default_factory=lambda: DNeRFRGBADataParser)
    """Class that is set up."""
    data: Path = Path("data/dnerf/lego")
    """Folder of the scene, which holds transforms_train.json."""
    downscale_factor: int = 1
    """Reduce images and masks by this factor, averaging over areas."""
    background_color: Literal["white", "black"] = "white"
    """Colour that the images are laid on by their alpha."""
    scale_factor: float = 1.0 / 1.5
    """Scene units per unit of the data, such that the subject fits [-1, 1]^3."""
    eval_split: Literal["auto", "test", "val"] = "auto"
    """Split that evaluates where test is asked for; auto is test, but val for lego, whose test shows another pose."""


class Frames(NamedTuple):
    """One transforms file."""

    path: Path
    image_filenames: list[Path]
    times: torch.Tensor
    camera_to_worlds: np.ndarray
    camera_angle_x: float


class DNeRFRGBADataParser(DataParser):
    """Reads D-NeRF's layout. One moving camera: every ``camera_id`` is 0."""

    config: DNeRFRGBADataParserConfig
    includes_time: bool = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        config = self.config
        require_downscale_factor(config.downscale_factor)
        if not (math.isfinite(config.scale_factor) and config.scale_factor > 0):
            raise InputError(f"--scale-factor is {config.scale_factor}, expected a positive number.")
        folder_split, protocol_note = self._folder_split(split)
        train = self._read_frames("train")
        frame_times = torch.unique(train.times)
        validation.require_distinct_frames(len(frame_times), str(train.path))
        frames = train if folder_split == "train" else self._read_frames(folder_split)

        headers = validation.read_image_headers(frames.image_filenames, f"Checking {split} images")
        has_alpha = self._require_alpha_in_all_or_none(frames, headers)
        world_from_scene = torch.diag(torch.tensor([1 / config.scale_factor] * 3 + [1.0]))
        scene_aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        metadata: dict[str, Any] = {
            "dataparser_name": "dnerf-rgba-data",
            "split": split,
            "protocol_note": protocol_note,
            "frame_times": frame_times,
            "scene_aabb": scene_aabb,
            "world_from_scene": world_from_scene,
            "downscale_factor": config.downscale_factor,
        }
        background = None
        if has_alpha:
            background = background_tensor(config.background_color)
            metadata["background_color"] = background
            metadata["fg_mask_filenames"] = frames.image_filenames
            metadata["fg_mask_source"] = "alpha"
        return DataparserOutputs(
            image_filenames=frames.image_filenames,
            cameras=self._cameras(frames, headers),
            alpha_color=background,
            scene_box=SceneBox(aabb=scene_aabb),
            metadata=metadata,
            dataparser_scale=config.scale_factor,
        )

    def _folder_split(self, split: str) -> tuple[str, str]:
        """The split on disk that is read for one that was asked for, and a note on it."""
        if split != "test":
            return split, f"{split} split as published"
        if self.config.eval_split == "test":
            return "test", "test split as published"
        if self.config.eval_split == "val":
            return "val", "test asked for, evaluated on val (--eval-split val)"
        if self.config.data.resolve().name.lower() in SCENES_WITH_ANOTHER_TEST_POSE:
            note = (
                f"the test split of {self.config.data.resolve().name} shows another pose than its training images: "
                "evaluated on val (--eval-split test to use it all the same)"
            )
            CONSOLE.print(f"[yellow]D-NeRF: {note}.")
            return "val", note
        return "test", "test split as published"

    def _read_frames(self, split: str) -> Frames:
        root = self.config.data
        hint = layout_hint(root, "dnerf-rgba-data")
        validation.require_folder(root, "transforms_train.json (D-NeRF layout)", hint)
        path = root / f"transforms_{split}.json"
        if not path.is_file():
            raise InputError(
                f"The file {path} does not exist, expected the D-NeRF layout (transforms_{{train,val,test}}.json). "
                f"{hint}".rstrip()
            )
        contents = validation.read_json(path, "the cameras of a split")
        try:
            angle, entries = float(contents["camera_angle_x"]), list(contents["frames"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} lacks {error}, expected camera_angle_x and frames (D-NeRF layout).") from error
        if not 0 < angle < math.pi:
            raise InputError(f"camera_angle_x of {path} is {angle:g}, expected an angle in radians between 0 and pi.")
        if not entries:
            raise InputError(f"{path} has no frames, expected one per image.")
        names = [f"frame {index} of {path}" for index in range(len(entries))]
        for name, entry in zip(names, entries, strict=True):
            for key in ("file_path", "time", "transform_matrix"):
                if not isinstance(entry, dict) or key not in entry:
                    advice = " Without times it is Blender data; use blender-data." if key == "time" else ""
                    raise InputError(f"The {name} has no {key}, expected file_path, time, transform_matrix.{advice}")
        times = torch.tensor(
            [_number(entry["time"], f"time of {name}") for name, entry in zip(names, entries, strict=True)]
        )
        validation.require_times(times, names)
        poses = np.stack(
            [
                require_rigid_pose(_matrix(entry["transform_matrix"]), f"transform_matrix of {name}")
                for name, entry in zip(names, entries, strict=True)
            ]
        )
        return Frames(path, [_image_path(root, entry["file_path"]) for entry in entries], times, poses, angle)

    def _require_alpha_in_all_or_none(self, frames: Frames, headers: Sequence[validation.ImageHeader]) -> bool:
        with_alpha = [header.has_alpha for header in headers]
        if any(with_alpha) and not all(with_alpha):
            path = frames.image_filenames[with_alpha.index(False)]
            raise InputError(
                f"{path} has no alpha channel, but other images of {frames.path} have one, expected RGBA in all."
            )
        return all(with_alpha)

    def _cameras(self, frames: Frames, headers: Sequence[validation.ImageHeader]) -> Cameras:
        factor = self.config.downscale_factor
        focals = torch.tensor([focal_from_field_of_view(frames.camera_angle_x, header.width) for header in headers])
        full_sizes = torch.tensor([[header.height, header.width] for header in headers])
        sizes = torch.tensor([downscaled_size(header.height, header.width, factor) for header in headers])
        poses = frames.camera_to_worlds.copy()
        poses[:, :, 3] *= self.config.scale_factor
        return Cameras(
            camera_to_worlds=torch.from_numpy(poses).float(),
            fx=focals[:, None].float() / factor,
            fy=focals[:, None].float() / factor,
            cx=full_sizes[:, 1:2].float() / (2 * factor),
            cy=full_sizes[:, 0:1].float() / (2 * factor),
            height=sizes[:, 0:1],
            width=sizes[:, 1:2],
            camera_type=CameraType.PERSPECTIVE,
            times=frames.times[:, None],
            metadata={"camera_id": torch.zeros(len(headers), 1, dtype=torch.long)},
        )


def _image_path(root: Path, file_path: str) -> Path:
    """``file_path`` of a frame as a path; the published files leave the suffix out."""
    path = root / file_path
    return path if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") else path.with_name(f"{path.name}.png")


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"The {name} is {value!r}, expected a number in [0, 1].") from error


def _matrix(rows: Any) -> np.ndarray:
    try:
        return np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty((0, 0))  # reported by its shape


dnerf_rgba_data = DataParserSpecification(
    config=DNeRFRGBADataParserConfig(),
    description="D-NeRF scenes with alpha as the foreground mask (transforms_{train,val,test}.json with times).",
)
