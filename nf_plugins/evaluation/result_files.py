"""Results of an evaluation as JSON and YAML, under our names of the metrics and those of the original ResFields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nf_plugins.atomic_files import write_json, write_yaml

RESULTS = "results.json"
REFERENCE_NAMES = {"psnr": "psnr", "mpsnr": "psnr_fg", "ssim": "ssim", "mask_bce": "mask_bce"}
"""The reference's names of image metrics, and ours."""
REFERENCE_GEOMETRY_NAMES = {"CD": "chamfer_l1_sum", "ND": "normal_distance"}
"""The reference's names of surface metrics, and ours."""
REFERENCE_PROTOCOL_NAMES = {"metric_test_psnr": "psnr_test", "metric_train_psnr": "psnr_train"}
"""The reference's names of what the protocol of a video measures, and ours."""


def write_results(folder: Path, result: dict[str, Any]) -> None:
    """Write ``results.yaml`` and ``results.json``, the reference's names beside ours."""
    content = {**result, "reference_names": with_reference_names(result)}
    write_yaml(folder / "results.yaml", content)
    write_json(folder / RESULTS, content)


def with_reference_names(result: dict[str, Any]) -> dict[str, Any]:
    """Means and frames of a result under the names that the original ResFields gives them.

    ``mpsnr`` is our ``psnr_fg``, ``mask_bce`` the cross entropy of opacity and mask, ``CD`` our ``chamfer_l1_sum`` and
    ``ND`` our ``normal_distance``, both without the factors 1000 and 100 of the published tables.
    """
    geometry = result.get("geometry", {})
    of_frame = {entry["frame_id"]: renamed(entry, REFERENCE_GEOMETRY_NAMES) for entry in geometry.get("per_frame", [])}
    rows = []
    for entry in result["per_frame"]:
        key = {name: entry[name] for name in ("frame_id", "time") if name in entry}
        rows.append({**key, **renamed(entry, REFERENCE_NAMES), **of_frame.get(entry.get("frame_id"), {})})
    mean = renamed(result["mean"], REFERENCE_NAMES) | renamed(geometry.get("mean", {}), REFERENCE_GEOMETRY_NAMES)
    mean |= renamed(result.get("protocol_results", {}), REFERENCE_PROTOCOL_NAMES)
    return {"mean": mean, "per_frame": rows}


def renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The values that are there under their other names."""
    return {name: values[own] for name, own in names.items() if own in values}
