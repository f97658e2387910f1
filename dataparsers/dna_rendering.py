"""DNA-Rendering (Cheng et al., ICCV 2023): 60 standing cameras around a person, as .smc files or extracted.

What a scene holds is described in ``nf_plugins/data/dna_rig.py`` and ``nf_plugins/data/smc_archive.py``; an extracted
scene has EasyVolcap's layout. Preparation and split are those that Im4D publishes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from nf_plugins.data.dna_rig import read_dna_rig
from nf_plugins.data.layouts import layout_hint
from nf_plugins.data.multi_view_options import MultiViewDataParserConfig
from nf_plugins.data.multi_view_outputs import multi_view_outputs
from nf_plugins.data.rig_capture import RigCapture
from nf_plugins.errors import InputError

TEST_VIEWS = (11, 25, 37, 57)
LARGE_PIXELS = 8_000_000
"""Cameras of 12 megapixels have more, those of 5 have less."""


@dataclass
class DnaRenderingDataParserConfig(MultiViewDataParserConfig):
    """A scene of DNA-Rendering: .smc files, or extracted from them."""

    _target: type = field(default_factory=lambda: DnaRenderingDataParser)
    """Class that is set up."""
    data: Path = Path("data/dna-rendering/0013_01")
    """Folder with NAME.smc and NAME_annots.smc (or NAME.smc itself), or an extracted scene with intri.yml."""
    annotations: Path | None = None
    """File with the cameras and masks of an .smc file; None takes NAME_annots.smc beside it."""
    color_correction: Literal["clip", "range", "none"] = "clip"
    """What becomes of corrected colours beyond 0 to 255: clip cuts them off, range stretches each image's own range, as
    the published extraction does; none leaves colours uncorrected. Extracted images stay as they are."""
    eval_cameras: tuple[str, ...] = ()
    """Names, numbers or ranges of the evaluation cameras; empty takes the published ones, 11, 25, 37 and 57, where
    there are so many cameras."""
    num_frames: int | None = 150
    """How many frames to load at most; None takes all."""
    eval_frame_stride: int = 20
    """Evaluate every n-th of the loaded frames."""
    scale_ratio: float = 0.5
    """Size of the images that are trained on per size of the files, averaging over areas; at most 1."""
    special_cameras: tuple[str, ...] = ()
    """Names, numbers or ranges of cameras that are reduced by --special-scale-ratio instead; empty takes those of 12
    megapixels (48 to 59)."""
    crop_size: tuple[int, int] | None = (900, 600)
    """Height and width that images are cropped to about their middle, after the scale ratio; None leaves them whole."""
    background_color: Literal["white", "black", "keep"] = "white"
    """Colour that masked images are laid on; keep leaves them as photographed and delivers the masks beside them."""
    mask_folder: str = "auto"
    """auto takes the masks of the .smc file, or of an extracted scene the first folder that is there; none leaves masks
    out."""


class DnaRenderingDataParser(DataParser):
    """Reads DNA-Rendering's files.

    The splits "val" and "test" both give the evaluation cameras. Images come camera by camera, frame by frame; those of
    .smc files are decoded when they are asked for (``picture_source``).
    """

    config: DnaRenderingDataParserConfig
    includes_time: bool = True
    dataparser_name: str = "dna-rendering-data"

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        config = self.config
        try:
            capture = read_dna_rig(
                config.data,
                annotations=config.annotations,
                mask_folder=config.mask_folder,
                points=config.scene_box_from in ("auto", "vertices", "points"),
                saturate=None if config.color_correction == "none" else config.color_correction,
            )
        except InputError as error:
            raise InputError(f"{error} {layout_hint(config.data, self.dataparser_name)}".strip()) from error
        return multi_view_outputs(capture, self.configured(capture), split, dataparser_name=self.dataparser_name)

    def configured(self, capture: RigCapture) -> MultiViewDataParserConfig:
        """The options, completed by what the capture is."""
        config, names = self.config, capture.camera_names
        if not config.eval_cameras and max(TEST_VIEWS) < len(names):
            config = replace(config, eval_cameras=tuple(str(view) for view in TEST_VIEWS))
        if not config.special_cameras:
            sizes = (lens.width * lens.height for lens in capture.lenses)
            large = tuple(name for name, size in zip(names, sizes, strict=True) if size > LARGE_PIXELS)
            config = replace(config, special_cameras=large)
        return config


dna_rendering_data = DataParserSpecification(
    config=DnaRenderingDataParserConfig(),
    description="DNA-Rendering: .smc files, or extracted in EasyVolcap's layout.",
)
