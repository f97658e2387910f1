"""Images for methods that learn from the meshes themselves."""

from __future__ import annotations

from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.data.mesh_frames import MeshFrames
from nf_plugins.errors import InputError


def mesh_sequence_of(metadata: dict[str, Any]) -> MeshFrames:
    """The mesh sequence that a dataparser gave.

    Raises:
        InputError: It gave none.
    """
    sequence = metadata.get("mesh_sequence")
    if sequence is None:
        source = metadata.get("dataparser_name", "the chosen dataparser")
        raise InputError(
            f"This method learns from meshes (metadata 'mesh_sequence'), which {source} does not give: use "
            "mesh-sequence-data."
        )
    return sequence


class MeshSequenceDataset(DynamicDataset):
    """Drawn pictures of a mesh sequence, see :class:`~nf_plugins.data.mesh_pictures.MeshPictures`.

    Args:
        dataparser_outputs: Of ``mesh-sequence-data``.
        scale_factor: Pictures are drawn at the size that it gives their cameras.

    Raises:
        InputError: Outputs of another dataparser.
    """

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        self.sequence = mesh_sequence_of(self.metadata)
