"""The end of the quickstart: how good the run is, where its files lie, how to look at it.

Writes summary.json, summary.txt and contact_sheet.png into the output folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from nf_plugins.atomic_files import atomic_path, write_json
from nf_plugins.engine.load_run import load_run
from nf_plugins.errors import InputError


@dataclass
class SummaryOptions:
    """Summarise a quickstart run."""

    load_config: Path
    """The config.yml of the run."""
    output_dir: Path
    """Folder of the quickstart, which holds ns_eval.json, video.mp4 and meshes/."""
    num_rows: int = 4
    """Rows of the contact sheet, spread evenly over time."""


def mesh_distances(mesh_dir: Path, frame_times: list[float], truths: list[Path]) -> list[dict[str, Any]]:
    """Chamfer distance of every exported mesh to the true mesh of each exported frame, scene units."""
    import trimesh

    from nf_plugins.evaluation.geometry_metrics import compare_meshes

    exported = [entry for entry in json.loads((mesh_dir / "meshes.json").read_text())["meshes"] if entry["file"]]
    frames = [min(range(len(frame_times)), key=lambda i: abs(frame_times[i] - entry["time"])) for entry in exported]
    true_meshes: dict[int, Any] = {frame: trimesh.load(truths[frame], force="mesh") for frame in frames}
    rows = []
    for entry, frame in zip(exported, frames, strict=True):
        mesh: Any = trimesh.load(mesh_dir / entry["file"], force="mesh")
        distances = {
            str(other): compare_meshes(mesh, truth, num_samples=20_000).chamfer_l2_mean
            for other, truth in true_meshes.items()
        }
        own_is_nearest = min(distances, key=lambda key: distances[key]) == str(frame)
        rows.append(
            {
                "file": str(mesh_dir / entry["file"]),
                "frame": frame,
                "time": entry["time"],
                "chamfer_to_true_frame": distances,
                "own_frame_is_nearest": own_is_nearest,
            }
        )
    return rows


def summarise(options: SummaryOptions) -> dict[str, Any]:
    """Collect the numbers of a finished quickstart and draw its contact sheet."""
    from nf_plugins.evaluation.contact_sheet import pipeline_contact_sheet
    from nf_plugins.exporters.image_files import write_image

    run = load_run(options.load_config, test_mode="inference")
    evaluation_path = run.base_dir / "evaluation" / "test.json"
    if not evaluation_path.is_file():
        raise InputError(f"There is no {evaluation_path}, which training writes at its end; run the quickstart again.")
    evaluation = json.loads(evaluation_path.read_text())
    pipeline: Any = run.pipeline
    metadata = pipeline.datamanager.train_dataset.metadata
    sheet_path = options.output_dir / "contact_sheet.png"
    write_image(sheet_path, pipeline_contact_sheet(run.pipeline, "test", num_rows=options.num_rows))
    frame_times = [float(time) for time in metadata["frame_times"]]
    return {
        "method": run.config.method_name,
        "steps": run.step + 1,
        "held_out_camera": {
            "psnr": evaluation["mean"]["psnr"],
            "psnr_foreground": evaluation["mean"]["psnr_fg"],
            "mean": evaluation["mean"],
            "protocol": evaluation["protocol"],
        },
        "meshes": mesh_distances(options.output_dir / "meshes", frame_times, metadata["mesh_filenames"]),
        "files": {
            "run": str(options.load_config.parent),
            "evaluation": str(options.load_config.parent / "evaluation" / "test.json"),
            "ns_eval": str(options.output_dir / "ns_eval.json"),
            "video": str(options.output_dir / "video.mp4"),
            "meshes": str(options.output_dir / "meshes"),
            "contact_sheet": str(sheet_path),
            "summary": str(options.output_dir / "summary.json"),
        },
        "viewer_command": f"ns-viewer --load-config {options.load_config}",
    }


def as_text(summary: dict[str, Any]) -> str:
    """The summary for a terminal."""
    held_out = summary["held_out_camera"]
    lines = [
        f"{summary['method']}, {summary['steps']} steps",
        f"  held-out camera  PSNR {held_out['psnr']:.2f} dB, foreground {held_out['psnr_foreground']:.2f} dB",
    ]
    for row in summary["meshes"]:
        own = row["chamfer_to_true_frame"][str(row["frame"])]
        others = ", ".join(
            f"{value:.4f}" for key, value in row["chamfer_to_true_frame"].items() if key != str(row["frame"])
        )
        lines.append(f"  mesh of frame {row['frame']:<3} Chamfer {own:.4f} to its own truth, {others} to others")
    lines += [f"  {name:<16} {path}" for name, path in summary["files"].items()]
    lines += ["To turn it around and move its time:", "  source .venv/bin/activate", f"  {summary['viewer_command']}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Summarise, print, write."""
    options = tyro.cli(SummaryOptions, description=__doc__)
    summary = summarise(options)
    with atomic_path(options.output_dir / "summary.txt") as temporary:
        temporary.write_text(as_text(summary))
    write_json(options.output_dir / "summary.json", summary)


if __name__ == "__main__":
    main()
