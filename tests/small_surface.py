"""A surface field small enough for tests, with any encoding."""

from __future__ import annotations

from typing import Any

from nf_plugins.field_components.point_encoding import PointEncodingConfig
from nf_plugins.fields.surface_field import SurfaceFieldConfig


def small_surface(kind: str = "posenc", **options: Any) -> SurfaceFieldConfig:
    """Four layers of 128, unless told otherwise, behind the smallest encoding of a kind."""
    encoding = PointEncodingConfig(
        kind=kind,  # type: ignore[arg-type]
        num_fourier_features=8,
        num_levels=4,
        log2_table_size=10,
        base_resolution=4,
        finest_resolution=16,
    )
    sizes = dict(num_layers=4, hidden_dim=128, skip_layer=2, feature_dim=16, color_num_layers=2, color_hidden_dim=32)
    return SurfaceFieldConfig(encoding=encoding, **{**sizes, **options})
