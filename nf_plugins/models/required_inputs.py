"""Which inputs a method needs, and which dataparsers can give them."""

from __future__ import annotations

from typing import Any

from nf_plugins.errors import InputError

DATAPARSERS_WITH = {
    "frame_times": "owlii-data, dnerf-rgba-data, zju-mocap-data, nerfstudio-time-data, mesh-sequence-data, nsff-data, "
    "easyvolcap-data, nhr-data, dna-rendering-data, neural3dv-data",
    "fg_mask_filenames": "owlii-data, dnerf-rgba-data, zju-mocap-data, nerfstudio-time-data, mesh-sequence-data, "
    "dtu-data, easyvolcap-data, nhr-data, dna-rendering-data",
    "depth_filenames": "owlii-data, nerfstudio-time-data",
    "picture_size": "video-data",
    "mesh_sequence": "mesh-sequence-data",
    "ndc": "nsff-data",
    "near_distance": "nsff-data",
    "frame_camera_to_worlds": "nsff-data",
    "frame_intrinsics": "nsff-data",
    "disparity_filenames": "nsff-data",
    "flow_forward_filenames": "nsff-data",
}
"""For each kind of input that a method may need, the dataparsers that can give it."""
INPUT_NAMES = {
    "frame_times": "a time per image",
    "fg_mask_filenames": "foreground masks",
    "depth_filenames": "depth",
    "picture_size": "the frames of a video",
    "mesh_sequence": "meshes",
    "ndc": "the frustum of normalised device coordinates",
    "near_distance": "the distance before which nothing is seen",
    "frame_camera_to_worlds": "the pose of every frame's camera",
    "frame_intrinsics": "the intrinsics of every frame's camera",
    "disparity_filenames": "disparity",
    "flow_forward_filenames": "optical flow",
}
WAYS_OUT = {
    "fg_mask_filenames": " Or train without masks: --pipeline.model.loss-coefficients.mask 0 "
    "--pipeline.datamanager.pixel-sampler.strategy uniform.",
}
"""For some kinds of input, a sentence on how to do without it."""


def require_inputs(
    method: str, metadata: dict[str, Any], keys: list[str], ways_out: dict[str, str] | None = None
) -> None:
    """Raises an InputError that names the first key missing in a dataparser's metadata and who provides it.

    Args:
        method: What to call the method.
        metadata: Of the dataparser.
        keys: What must be there.
        ways_out: How this method does without a kind of input, in place of ``WAYS_OUT``.
    """
    ways_out = WAYS_OUT if ways_out is None else ways_out
    for key in keys:
        if metadata.get(key) is None:
            source = metadata.get("dataparser_name", "the chosen dataparser")
            raise InputError(
                f"{method} needs {INPUT_NAMES[key]} (metadata '{key}'), which {source} did not give for this data; "
                f"dataparsers that can: {DATAPARSERS_WITH[key]}.{ways_out.get(key, '')}"
            )
