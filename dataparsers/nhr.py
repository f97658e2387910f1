"""NHR (Wu et al., Multi-View Neural Human Rendering, 2020): sport and basketball, in EasyVolcap's layout.

A scene's folder holds intri.yml, extri.yml, images, masks (schp for sport, mask for basketball) and vertices per frame.
Its world is turned so that z points up, by the rotations and translations that Im4D publishes for sport 1 and for
basketball.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from numpy.typing import NDArray

from dataparsers.easyvolcap import EasyVolcapDataParser, EasyVolcapDataParserConfig
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.rig_capture import RigCapture

Scene = Literal["auto", "sport", "basketball", "none"]
TILT = math.radians(80.0)
"""Of the capture's world against the vertical."""
TURN = math.radians(25.0)
"""Of basketball, about the vertical."""
TRANSLATIONS = {"sport": (0.0, -3.88852744, 2.16014765), "basketball": (2.0, -5.13, 2.85)}
TEST_VIEWS = {"sport": (18, 28, 37, 46), "basketball": (28, 37, 46)}


@dataclass
class NhrDataParserConfig(EasyVolcapDataParserConfig):
    """NHR's sport and basketball scenes, turned upright."""

    _target: type = field(default_factory=lambda: NhrDataParser)
    """Class that is set up."""
    data: Path = Path("data/NHR/sport_1_easymocap")
    """Folder of the scene, which holds intri.yml and extri.yml."""
    scene: Scene = "auto"
    """Whose published rotation turns the world upright; auto tells by the folder's name, none leaves the world as it
    is. That of sport is published for its first scene."""
    eval_cameras: tuple[str, ...] = ()
    """Names, numbers or ranges of the evaluation cameras; empty takes the published ones, 18, 28, 37 and 46 (basketball
    without 18), where there are so many cameras."""
    num_frames: int | None = 100
    """How many frames to load at most; None takes all."""
    eval_frame_stride: int = 10
    """Evaluate every n-th of the loaded frames."""
    scale_ratio: float = 0.5
    """Size of the images that are trained on per size of the files, averaging over areas; at most 1."""


class NhrDataParser(EasyVolcapDataParser):
    """Reads NHR's scenes as EasyVolcap's, and turns them upright."""

    config: NhrDataParserConfig  # type: ignore[assignment]
    dataparser_name: str = "nhr-data"

    @property
    def scene(self) -> str:
        """Which of the published scenes this is: sport, basketball or none."""
        if self.config.scene != "auto":
            return self.config.scene
        name = self.config.data.resolve().name.lower()
        return next((scene for scene in TRANSLATIONS if scene in name), "none")

    def configured(self, capture: RigCapture) -> MultiViewDataParserConfig:
        """The options with the published evaluation cameras where none are asked for."""
        views = TEST_VIEWS.get(self.scene, ())
        if self.config.eval_cameras or not views or max(views) >= len(capture.camera_names):
            return self.config
        return replace(self.config, eval_cameras=tuple(str(view) for view in views))

    def transform(self) -> NDArray[np.float64] | None:
        """The published motion of the scene (4, 4)."""
        return None if self.scene == "none" else gravity_transform(self.scene)


def gravity_transform(scene: str) -> NDArray[np.float64]:
    """The motion (4, 4) that makes z point up in the scene "sport" or "basketball"."""
    cosine, sine = math.cos(TILT), math.sin(TILT)
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
    if scene == "basketball":
        cosine, sine = math.cos(TURN), math.sin(TURN)
        rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]) @ rotation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = TRANSLATIONS[scene]
    return matrix


nhr_data = DataParserSpecification(
    config=NhrDataParserConfig(),
    description="NHR's sport and basketball (EasyVolcap's layout with vertices), turned upright.",
)
