"""How long the DTU Chamfer distance takes on about a million points: sampling, thinning, nearest neighbours.

A bumpy closed surface of the size of a DTU object is measured against a reference of a million points on itself, moved
by a tenth of a millimetre, so that the result is known too.

    python scripts/bench/chamfer_throughput.py --output-path docs/results/chamfer_throughput.json
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from nf_plugins.atomic_files import write_json
from nf_plugins.evaluation.dtu_chamfer import points_chamfer
from nf_plugins.evaluation.dtu_reference import SurfaceReference
from nf_plugins.evaluation.point_thinning import points_on_mesh, thin_points
from nf_plugins.run_facts import machine_name


@dataclass
class Options:
    """Size of the measurement."""

    points: int = 1_000_000
    """Points on the mesh before thinning, about, and points of the reference."""
    shift: float = 0.1
    """Distance along x by which the reference is moved, millimetres."""
    rounds: int = 3
    """Times that everything is measured."""
    output_path: Path | None = None
    """JSON file for the figures."""


def bumpy_sphere(area: float) -> Any:
    """A closed mesh with 330 000 faces and about this area in square millimetres."""
    import trimesh

    sphere = trimesh.creation.icosphere(subdivisions=7)
    directions = np.asarray(sphere.vertices)
    radii = 1.0 + 0.05 * np.sin(9 * directions).prod(axis=1) + 0.02 * np.cos(23 * directions[:, 2])
    mesh = trimesh.Trimesh(directions * radii[:, None], sphere.faces, process=False)
    return mesh.apply_scale(np.sqrt(area / mesh.area))


def main(options: Options) -> None:
    """Measures the three steps and prints medians."""
    import trimesh

    spacing = 0.2
    mesh = bumpy_sphere(2.0 * options.points * spacing**2)  # small triangles get half the points that fit on them
    cloud = np.asarray(trimesh.sample.sample_surface(mesh, options.points, seed=0)[0]) + (options.shift, 0.0, 0.0)
    reference = SurfaceReference(cloud)
    seconds: dict[str, list[float]] = {"sampling": [], "thinning": [], "nearest neighbours": []}
    sizes: dict[str, int] = {}
    overall = 0.0
    for _ in range(options.rounds):
        started = time.perf_counter()
        points = points_on_mesh(mesh.vertices, mesh.faces, spacing)
        sampled = time.perf_counter()
        thinned = points[thin_points(points, spacing)]
        thin = time.perf_counter()
        result, _ = points_chamfer(thinned, reference)
        ended = time.perf_counter()
        seconds["sampling"].append(sampled - started)
        seconds["thinning"].append(thin - sampled)
        seconds["nearest neighbours"].append(ended - thin)
        sizes = {
            "sampling": len(points),
            "thinning": len(points),
            "nearest neighbours": len(thinned) + len(cloud),
        }
        overall = result.overall
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [[name, sizes[name], f"{value:.2f}", f"{sizes[name] / value / 1e6:.2f}"] for name, value in medians.items()]
    total = sum(medians.values())
    rows.append(["all", None, f"{total:.2f}", None])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    content = {
        "title": "Chamfer distance on a million points",
        "command": "python scripts/bench/chamfer_throughput.py",
        "protocol": {
            "what": "DTU protocol at 0.2 mm: points on a mesh, greedy thinning, distances both ways",
            "mesh": f"{len(mesh.faces)} faces, {mesh.area:.0f} square millimetres",
            "points after thinning": sizes["nearest neighbours"] - len(cloud),
            "points of the reference": len(cloud),
            "rounds": options.rounds,
            "machine": machine_name(torch.device("cpu")),
            "peak memory of the process": f"{peak:.1f} GiB",
        },
        "columns": ["step", "points", "median seconds", "million points per second"],
        "rows": rows,
        "notes": [
            f"The reference is the surface moved by {options.shift:g} mm along x; overall {overall:.3f} mm, of which "
            "the spacing of both clouds is a part.",
        ],
    }
    print(json.dumps(content, indent=2))
    if options.output_path is not None:
        write_json(options.output_path, content)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
