"""Scans of one static object in the layout of IDR and NeuS (DTU, BlendedMVS): images, masks, projection matrices.

The layout is that of :mod:`nf_plugins.data.idr_capture`. Scene units are those in which the object fits the unit
sphere; ``scale_mat`` leads back to the data's own, millimetres for DTU. Nothing is turned, centred or scaled on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from numpy.typing import NDArray

from nf_plugins.data import idr_capture
from nf_plugins.data.dataparser_outputs import background_tensor, pinhole_cameras, require_downscale_factor
from nf_plugins.data.pose_noise import perturb_poses
from nf_plugins.data.scene_frame import dataparser_transform
from nf_plugins.data.view_split import split_views
from nf_plugins.errors import InputError


@dataclass
class DTUDataParserConfig(DataParserConfig):
    """IDR and NeuS layout (DTU, BlendedMVS): views of one static object with masks and cameras.npz."""

    _target: type = field(default_factory=lambda: DTUDataParser)
    """Class that is set up."""
    data: Path = Path("data/dtu/scan65")
    """Folder of the scan, with image/, mask/ and a camera file."""
    camera_file: str = "auto"
    """Name of the camera file; auto takes cameras_sphere.npz, or else cameras.npz. cameras_linear_init.npz has
    inaccurate cameras to be learnt."""
    eval_mode: Literal["all", "interval", "list"] = "all"
    """Views to evaluate on: all, which are trained on too (the published protocol); every n-th; or those listed. The
    latter two are not trained on."""
    eval_interval: int = 8
    """With eval mode interval: hold out every n-th view, from the first on."""
    eval_views: tuple[int, ...] = ()
    """With eval mode list: numbers of the views to hold out, from 0."""
    downscale_factor: int = 1
    """Reduce images and masks by this factor, averaging over areas."""
    background_color: Literal["white", "black", "keep"] = "white"
    """Colour that the masked images are laid on; keep leaves the images as photographed."""
    pose_noise_degrees: float = 0.0
    """Turn every training camera about its centre and a random axis, by an angle with this standard deviation."""
    pose_noise_translation: float = 0.0
    """Move every training camera, by a shift with this standard deviation along each axis; world units (DTU:
    millimetres)."""
    pose_noise_seed: int = 0
    """Draws the noise of the poses."""


class DTUDataParser(DataParser):
    """Reads a scan.

    The splits "val" and "test" both give the evaluation views. A scan stands still: cameras have no times. Noise on the
    poses is for training alone; then, and with ``cameras_linear_init.npz`` beside the true cameras, the metadata hold
    ``true_camera_to_worlds``.
    """

    config: DTUDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        self._check_options()
        root = self.config.data
        files = idr_capture.find_scan_files(root)
        scan_cameras = idr_capture.read_scan_cameras(files, self.config.camera_file)
        headers = idr_capture.check_masks(files, say=split == "train")
        train, evaluation, note = split_views(
            self.config.eval_mode, len(files.images), self.config.eval_interval, self.config.eval_views, root
        )
        views = train if split == "train" else evaluation
        poses, true_poses = scan_cameras.camera_to_worlds, scan_cameras.true_camera_to_worlds
        if split == "train" and (self.config.pose_noise_degrees > 0 or self.config.pose_noise_translation > 0):
            true_poses = poses if true_poses is None else true_poses
            poses = self._perturbed(poses, scan_cameras.world_from_scene, files.images)

        scene_aabb = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        metadata: dict[str, Any] = {
            "dataparser_name": "dtu-data",
            "split": split,
            "protocol_note": note,
            "scene_aabb": scene_aabb,
            "world_from_scene": torch.from_numpy(scan_cameras.world_from_scene).float(),
            "downscale_factor": self.config.downscale_factor,
            "view_names": [files.images[view].stem for view in views],
            **self._mask_metadata(files, views),
        }
        if true_poses is not None:
            metadata["true_camera_to_worlds"] = torch.from_numpy(true_poses[views]).float()
        truth = sorted((root / "mesh").glob("*.ply"))
        # The true surface is in the scene units of the true cameras; those of inaccurate ones are others.
        if truth and scan_cameras.path.name != idr_capture.LINEAR_INIT_FILE:
            metadata["mesh_filenames"] = truth[:1]
        transform, scale = dataparser_transform(scan_cameras.world_from_scene)
        return DataparserOutputs(
            image_filenames=[files.images[view] for view in views],
            cameras=pinhole_cameras(
                poses[views],
                scan_cameras.intrinsics[views],
                [headers[view] for view in views],
                self.config.downscale_factor,
                camera_ids=torch.tensor(views),
            ),
            alpha_color=metadata.get("background_color"),
            scene_box=SceneBox(aabb=scene_aabb),
            metadata=metadata,
            dataparser_transform=transform,
            dataparser_scale=scale,
        )

    def _mask_metadata(self, files: idr_capture.ScanFiles, views: list[int]) -> dict[str, Any]:
        """What the dataset does with the masks; without any, images stay as photographed."""
        metadata: dict[str, Any] = {}
        if files.masks:
            metadata["fg_mask_filenames"] = [files.masks[view] for view in views]
            metadata["fg_mask_source"] = idr_capture.MASK_RULE
        if files.masks and self.config.background_color != "keep":
            metadata["background_color"] = background_tensor(self.config.background_color)
        else:
            metadata["keep_background"] = True
        return metadata

    def _check_options(self) -> None:
        require_downscale_factor(self.config.downscale_factor)
        for name in ("pose_noise_degrees", "pose_noise_translation"):
            value = getattr(self.config, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"--{name.replace('_', '-')} is {value}, expected a standard deviation of at least 0.")
        if self.config.pose_noise_seed < 0:
            raise InputError(f"--pose-noise-seed is {self.config.pose_noise_seed}, expected a number of at least 0.")

    def _perturbed(
        self, poses: NDArray[np.float64], world_from_scene: NDArray[np.float64], images: list[Path]
    ) -> NDArray[np.float64]:
        scale = float(np.cbrt(np.linalg.det(world_from_scene[:3, :3])))
        noisy = perturb_poses(
            poses,
            self.config.pose_noise_degrees,
            self.config.pose_noise_translation / scale,
            self.config.pose_noise_seed,
        )
        idr_capture.require_outside_unit_sphere(
            noisy,
            images,
            f"--pose-noise-translation {self.config.pose_noise_translation:g} moved it there; a scene unit is "
            f"{scale:.4g} world units.",
        )
        return noisy


dtu_data = DataParserSpecification(
    config=DTUDataParserConfig(),
    description="IDR and NeuS layout (DTU, BlendedMVS): views of one static object with masks and cameras.npz.",
)
