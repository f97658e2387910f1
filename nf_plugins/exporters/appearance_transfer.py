"""The shape of one surface in the colours of another (Yariv et al., NeurIPS 2020, Sec. 4.3: disentanglement).

A colour network that sees point, normal, view direction and a feature of the geometry can be asked about another
surface than its own, as long as that gives a feature of the same width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nf_plugins.errors import InputError


@contextmanager
def appearance_of(
    appearance: Any, geometry: Any, appearance_path: Path | str = "B", geometry_path: Path | str = "A"
) -> Iterator[Any]:
    """Within the context the geometry's pipeline renders with the colours of the other; afterwards as before.

    What becomes of a surface point is the other run's whole: its colour network, the encoding of view directions that
    this was trained with, and whether it sees normals of unit length. Distances, normals, cameras and background are
    the geometry's. Nothing is written.

    Args:
        appearance: Pipeline of the run that colours, on the same device.
        geometry: Pipeline of the run that has the shape.
        appearance_path: Name of the first in errors.
        geometry_path: Name of the second in errors.

    Yields:
        The geometry's pipeline.

    Raises:
        InputError: A run is of no surface method, or the colour network does not fit; the sentence names both runs.
    """
    own = _surface_field(geometry, geometry_path)
    other = _surface_field(appearance, appearance_path)
    _check_fit(own.config, other.config, geometry_path, appearance_path)
    own.color = other.color
    try:
        yield geometry
    finally:
        # The method of its class shows again.
        del own.color


def _surface_field(pipeline: Any, path: Path | str) -> Any:
    """The field of a surface method.

    Raises:
        InputError: It has none.
    """
    field = getattr(pipeline.model, "field", None)
    if not hasattr(getattr(field, "config", None), "color_inputs"):
        raise InputError(
            f"{path} is a run of {type(pipeline.model).__name__}, expected one whose geometry and colour are apart: of "
            "idr or its relatives, or hashmod-neus."
        )
    return field


def _check_fit(geometry: Any, appearance: Any, geometry_path: Path | str, appearance_path: Path | str) -> None:
    """Compares the configs of two surface fields; see :func:`appearance_of`."""
    names = {"color_inputs": "color-inputs"}
    if appearance.color_inputs != "no_feature":
        names["feature_dim"] = "feature-dim"
    differences = [
        f"sdf-field.{option} is {getattr(geometry, name)} in {geometry_path} and {getattr(appearance, name)} in "
        f"{appearance_path}"
        for name, option in names.items()
        if getattr(geometry, name) != getattr(appearance, name)
    ]
    if differences:
        raise InputError(
            f"The geometry of {geometry_path} cannot have the appearance of {appearance_path}: "
            f"{'; '.join(differences)}. Train one of them with --pipeline.model.{differences[0].split(' ')[0]} as the "
            "other."
        )
