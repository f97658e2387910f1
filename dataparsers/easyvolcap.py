"""EasyVolcap's layout: synchronised standing cameras, calibrated by intri.yml and extri.yml.

What a scene's folder holds is described in ``nf_plugins/data/easymocap_rig.py``. It is the layout of DNA-Rendering's
extracted scenes, of ZJU-MoCap with refined cameras and, with ``--background-color keep --mask-folder bgmtv2`` and
plates of the empty set in ``bkgd``, of ENeRF-Outdoor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from numpy.typing import NDArray

from nf_plugins.data import validation
from nf_plugins.data.easymocap_rig import NameOrder, read_easymocap_rig
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.multi_view_outputs import multi_view_outputs
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.errors import InputError


@dataclass
class EasyVolcapDataParserConfig(MultiViewDataParserConfig):
    """EasyVolcap's layout: synchronised standing cameras with intri.yml and extri.yml."""

    _target: type = field(default_factory=lambda: EasyVolcapDataParser)
    """Class that is set up."""
    data: Path = Path("data/easyvolcap/scene")
    """Folder of the scene, which holds intri.yml and extri.yml."""
    mask_folder: str = "auto"
    """Folder of the masks; auto takes the first of masks, schp, mask, mask_cihp, bgmtv2 that is there, none leaves them
    out. Maps of body parts (schp, cihp) count where a label is above 0, others as each pixel's share of foreground."""
    box_folder: str = "vhull"
    """Folder of boxes (2, 3) per frame, .npy."""
    background_plates: str = "auto"
    """Folder of the empty set as every camera sees it; auto takes bkgd where it is there, none leaves it out."""
    name_order: NameOrder = "natural"
    """How cameras are numbered: natural puts 2 before 10, string sorts names as EasyVolcap does."""


class EasyVolcapDataParser(DataParser):
    """Reads EasyVolcap's files.

    The splits "val" and "test" both give the evaluation cameras. Times are f / (T - 1) of the T loaded frames. Images
    come camera by camera, frame by frame. Boxes depend on the training cameras alone.
    """

    config: EasyVolcapDataParserConfig
    includes_time: bool = True
    dataparser_name: str = "easyvolcap-data"

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        root = self.config.data
        hint = layout_hint(root, self.dataparser_name)
        validation.require_folder(root, "intri.yml, extri.yml and images/CAMERA (EasyVolcap)", hint)
        try:
            capture = self.read_rig()
        except InputError as error:
            raise InputError(f"{error} {hint}".strip()) from error
        return multi_view_outputs(
            capture,
            self.configured(capture),
            split,
            dataparser_name=self.dataparser_name,
            transform=self.transform(),
        )

    def read_rig(self) -> RigCapture:
        """The capture before anything is selected or prepared."""
        config = self.config
        points: Literal["auto", "vertices", "points", "none"] = "none"
        if config.scene_box_from in ("auto", "vertices", "points"):
            points = config.scene_box_from  # type: ignore[assignment]
        return read_easymocap_rig(
            config.data,
            mask_folder=config.mask_folder,
            points=points,
            box_folder=config.box_folder,
            background_plates=config.background_plates,
            name_order=config.name_order,
        )

    def configured(self, capture: RigCapture) -> MultiViewDataParserConfig:
        """The options, completed by what the capture is."""
        del capture
        return self.config

    def transform(self) -> NDArray[np.float64] | None:
        """What the capture is moved by (4, 4); None leaves it as it is."""
        return None


easyvolcap_data = DataParserSpecification(
    config=EasyVolcapDataParserConfig(),
    description="EasyVolcap's layout (intri.yml, extri.yml, images/CAMERA): synchronised standing cameras.",
)
