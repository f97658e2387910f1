"""Moving meshes: DeformingThings4D's ``.anime`` files, or a folder with one mesh per frame.

::

    SEQUENCE.anime          see nf_plugins/data/anime.py
    FOLDER/*.{ply,obj,off}  one mesh per frame in natural order of the names; the topology may change (ReSynth)
    FOLDER/SEQUENCE.anime   the folder of one .anime file is as good as the file

Methods that learn from the meshes themselves take them from ``metadata["mesh_sequence"]``. For all others, and for
nerfstudio's tools, there are cameras too: a few on a ring around the sequence for every frame. What they see, the
surface normals as colours and a foreground mask, is drawn when it is asked for; the image files that the outputs name
do not exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nf_plugins.data.dataparser_outputs import background_tensor
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.mesh_frames import MeshFrames, hold_out, normalise, read_meshes
from nf_plugins.data.mesh_pictures import MeshPictures
from nf_plugins.data.synthetic.cameras import ring_cameras, square_intrinsics
from nf_plugins.errors import InputError

FIELD_OF_VIEW = math.radians(40)
ELEVATIONS = (0.25, 0.6)
"""Of the cameras of the ring, in turns; radians above the ground."""


@dataclass
class MeshSequenceDataParserConfig(DataParserConfig):
    """Moving meshes: a DeformingThings4D .anime file, or a folder with one mesh (.ply, .obj, .off) per frame."""

    _target: type = field(default_factory=lambda: MeshSequenceDataParser)
    """Class that is set up."""
    data: Path = Path("data/meshes/horse-gallop")
    """The .anime file or the folder."""
    normalisation: Literal["min_max", "none"] = "min_max"
    """How the sequence is brought into [-1, 1]^3: the least and the greatest coordinate of all frames become -1 and 1,
    or not at all, for data that lie there already (ReSynth)."""
    normalisation_margin: float = 0.01
    """By how much that range is widened first, in the units of the files."""
    sign: Literal["closed", "winding"] = "closed"
    """How inside is told from outside: closed requires watertight meshes; winding takes the generalised winding number
    of any mesh, which closes its holes."""
    drop_first_frame: bool = False
    """Leave the first frame out, as the reference does with .anime files."""
    frame_stride: int = 1
    """Take every n-th frame."""
    num_frames: int | None = None
    """Take at most so many frames; None takes all."""
    test_every: int | None = None
    """Hold every n-th frame out of training and evaluate on those, for studies of interpolation; None trains on all."""
    num_cameras: int = 4
    """Cameras on the ring around the sequence that show its frames in the viewer."""
    num_eval_cameras: int = 1
    """Further cameras, between those, whose images are evaluated."""
    num_eval_frames: int | None = 10
    """Evaluate images of at most so many frames, evenly chosen (without a GPU each takes its time); None takes all."""
    resolution: int = 256
    """Width and height of the images."""
    up_axis: Literal["x", "y", "z"] = "z"
    """Axis of the files that points up; it tilts the cameras and nothing else."""
    background_color: Literal["white", "black"] = "white"
    """Colour behind the surface."""


class MeshSequenceDataParser(DataParser):
    """Reads mesh sequences.

    Times are f / (T - 1) of the T frames taken, held-out ones included. The splits "val" and "test" both show
    held-out frames, or frames of training where none is held out, from the evaluation cameras. Images come frame by
    frame.
    """

    config: MeshSequenceDataParserConfig
    includes_time: bool = True

    def __init__(self, config: MeshSequenceDataParserConfig) -> None:
        super().__init__(config)
        self._read: tuple[Any, MeshFrames] | None = None

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        self._check_options()
        sequence = self.mesh_sequence()
        config = self.config
        training = sequence.frames(held_out=False)
        frames = training if split == "train" else self._eval_frames(sequence.frames(held_out=True) or training)
        times = torch.from_numpy(sequence.times).float()
        scene_aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        cameras = self._cameras(sequence, "train" if split == "train" else "eval", frames, times)
        assert cameras.metadata is not None
        shown = cameras.metadata["sequence_frame"][:, 0]
        names = self._image_names(split, cameras.metadata["camera_id"][:, 0], shown)
        background = background_tensor(config.background_color)
        metadata: dict[str, Any] = {
            "dataparser_name": "mesh-sequence-data",
            "split": split,
            "protocol_note": self._protocol_note(sequence),
            "frame_times": times[training],
            "sequence_times": times,
            "mesh_sequence": sequence,
            "scene_aabb": scene_aabb,
            "world_from_scene": torch.from_numpy(sequence.world_from_scene).float(),
            "background_color": background,
            "mesh_pictures": MeshPictures(sequence, shown.tolist(), background),
            "fg_mask_filenames": names,
            "fg_mask_source": "cast rays",
        }
        return DataparserOutputs(
            image_filenames=names,
            cameras=cameras,
            scene_box=SceneBox(aabb=scene_aabb),
            metadata=metadata,
            dataparser_scale=1 / float(sequence.world_from_scene[0, 0]),
        )

    def mesh_sequence(self) -> MeshFrames:
        """The normalised frames, read once."""
        config = self.config
        key = (config.data, config.drop_first_frame, config.frame_stride, config.num_frames, config.test_every,
               config.normalisation, config.normalisation_margin, config.sign)  # fmt: skip
        if self._read is None or self._read[0] != key:
            if not config.data.exists():
                raise InputError(
                    f"{config.data} does not exist, expected an .anime file or a folder with one mesh per frame: check "
                    f"the path. {layout_hint(config.data, 'mesh-sequence-data')}".rstrip()
                )
            first = int(config.drop_first_frame)
            meshes = read_meshes(config.data, slice(first, None, config.frame_stride), config.num_frames)
            scaled, world_from_scene = normalise(meshes, config.normalisation, config.normalisation_margin)
            held_out = hold_out(len(scaled), config.test_every)
            self._read = (key, MeshFrames(tuple(scaled), held_out, world_from_scene, config.sign))
        return self._read[1]

    def _check_options(self) -> None:
        numbers = ("frame_stride", "num_frames", "num_cameras", "num_eval_cameras", "num_eval_frames", "resolution")
        for name in numbers:
            value = getattr(self.config, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} is {value}, expected a whole number of at least 1.")

    def _eval_frames(self, frames: list[int]) -> list[int]:
        count = self.config.num_eval_frames
        if count is None or count >= len(frames):
            return frames
        return [frames[int(place)] for place in np.linspace(0, len(frames) - 1, count).round()]

    def _protocol_note(self, sequence: MeshFrames) -> str:
        held_out = sum(sequence.held_out)
        shown = "that were trained on"
        if held_out:
            shown = f"held out of training: {held_out} of {len(sequence)} (--test-every {self.config.test_every})"
        return f"images are the normals of the true meshes as colours, drawn here; they show frames {shown}"

    def _cameras(self, sequence: MeshFrames, role: str, frames: Sequence[int], times: torch.Tensor) -> Cameras:
        """The ring's training or evaluation cameras, all of them for each of the frames."""
        config = self.config
        centre, radius = sequence.bounding_sphere()
        distance = 1.05 * radius / math.sin(FIELD_OF_VIEW / 2)
        count = config.num_cameras if role == "train" else config.num_eval_cameras
        # Evaluation cameras stand between the training cameras.
        start = math.pi / 6 if role == "train" else math.pi / 6 + math.pi / config.num_cameras
        poses = ring_cameras(count, distance, np.eye(3)["xyz".index(config.up_axis)], start, ELEVATIONS)
        poses[:, :3, 3] += centre
        intrinsics = square_intrinsics(config.resolution, FIELD_OF_VIEW)
        first_id = 0 if role == "train" else config.num_cameras
        number = len(frames) * count
        frame_of_image = torch.tensor(frames).repeat_interleave(count)
        return Cameras(
            camera_to_worlds=torch.from_numpy(np.tile(poses[:, :3], (len(frames), 1, 1))).float(),
            fx=float(intrinsics.fx),
            fy=float(intrinsics.fy),
            cx=float(intrinsics.cx),
            cy=float(intrinsics.cy),
            width=intrinsics.width,
            height=intrinsics.height,
            camera_type=CameraType.PERSPECTIVE,
            times=times[frame_of_image][:, None],
            metadata={
                "camera_id": (first_id + torch.arange(count)).repeat(len(frames))[:number, None],
                "sequence_frame": frame_of_image[:, None],
            },
        )

    def _image_names(self, split: str, camera_ids: torch.Tensor, frames: torch.Tensor) -> list[Path]:
        """A name for every image, SEQUENCE/CAMERA/FRAME.png, none of which exists."""
        data = self.config.data
        root = data if data.is_dir() else data.with_suffix("")
        pairs = zip(camera_ids.tolist(), frames.tolist(), strict=True)
        return [root / f"normals_{split}_{camera}" / f"{frame:06d}.png" for camera, frame in pairs]


mesh_sequence_data = DataParserSpecification(
    config=MeshSequenceDataParserConfig(),
    description="Moving meshes: a DeformingThings4D .anime file or a folder with one .ply, .obj or .off per frame.",
)
