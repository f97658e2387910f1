"""``nf-eval dtu``: views, mesh and cameras of trained surfaces, by the protocols of DTU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nf_plugins.cli.eval_results import evaluation_folder, print_columns, write_result
from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.evaluation.dtu_reference import SurfaceReference

METRICS = {"psnr_fg": "masked PSNR", "ssim_fg": "masked SSIM", "lpips_fg": "masked LPIPS", "mask_iou": "mask IoU"}
DTU_NAMES = ("accuracy", "completeness", "overall")


@dataclass
class EvaluateDTU:
    """Measure surfaces of static scenes: masked PSNR and SSIM of trained and held-out views, Chamfer, cameras."""

    load_config: tuple[Path, ...]
    """The config.yml of one or more runs of a surface method."""
    output_path: Path | None = None
    """JSON file for the results (default: evaluation/dtu.json in each run's folder)."""
    dtu_root: Path | None = None
    """Folder of the DTU reference, with Points/stl and ObsMask: measures the Chamfer distance in millimetres."""
    scan: int | None = None
    """Number of the DTU scan (default: the number in scanNN of the name of the run's data folder)."""
    mesh_resolution: int = 400
    """Grid points along the shortest side of the object's box; with --no-principal-axes, cells along the longest side
    of the scene box."""
    principal_axes: bool = True
    """Extract the mesh with a grid along the object's principal axes, as IDR does."""
    cull_by_masks: bool = False
    """Remove from the mesh what the widened masks of the training views exclude, for methods trained without masks."""
    mask_dilation: float = 50.0
    """With --cull-by-masks: how far the masks are widened, in pixels of an image 1600 pixels wide."""
    mesh_samples: int = 100_000
    """Random points on each mesh where the data has the true one."""
    lpips: bool = True
    """Measure LPIPS too, where its weights are cached or can be fetched."""
    image_stride: int = 1
    """Evaluate only every n-th view, for a quick look; the results say so."""
    error_clouds: bool = False
    """With --dtu-root: write accuracy.ply and completeness.ply, coloured by distance."""

    def main(self) -> None:
        """Evaluate every run, print the numbers, write the results.

        Raises:
            InputError: for what is wrong with options and runs; at the end, where a mesh could not be measured.
        """
        self.check()
        results: dict[str, dict[str, Any]] = {}
        failures: list[str] = []
        for load_config in self.load_config:
            result = results[str(load_config)] = self.evaluate(load_config)
            write_result(
                load_config,
                results,
                default_name="dtu.json",
                output_path=self.output_path,
                num_runs=len(self.load_config),
            )
            if result["mesh_error"] is not None:
                failures.append(f"{load_config} ({result['mesh_error']})")
        print_columns("Surfaces of static scenes", [summary(result) for result in results.values()])
        if failures:
            raise InputError(
                f"The mesh could not be made or measured of {', '.join(failures)}; all else is written. A smaller "
                "--mesh-resolution takes less memory."
            )

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before a run is loaded."""
        from nf_plugins.atomic_files import check_writable

        if not self.load_config:
            raise InputError("--load-config names no run, expected at least one config.yml.")
        for load_config in self.load_config:
            if not load_config.exists():
                raise InputError(f"--load-config {load_config} does not exist, expected the config.yml of a run.")
        for name, smallest in (("mesh_resolution", 2), ("mesh_samples", 1), ("image_stride", 1)):
            value = getattr(self, name)
            if value < smallest:
                raise InputError(f"--{name.replace('_', '-')} is {value}, expected at least {smallest}.")
        if self.mask_dilation < 0:
            raise InputError(f"--mask-dilation is {self.mask_dilation:g}, expected a number of pixels of at least 0.")
        if self.dtu_root is None and (self.scan is not None or self.error_clouds):
            raise InputError("--scan and --error-clouds need --dtu-root, the folder of the DTU reference.")
        if self.dtu_root is not None and not self.dtu_root.is_dir():
            raise InputError(f"--dtu-root {self.dtu_root} is not a folder, expected one with Points/stl and ObsMask.")
        if self.scan is not None and len(self.load_config) > 1:
            raise InputError("--scan is one number for several runs: leave it out, it is taken from each run's data.")
        if self.output_path is not None:
            check_writable(self.output_path)

    def evaluate(self, load_config: Path) -> dict[str, Any]:
        """The results of one run, with ``training`` (steps and seconds, None where the run kept no record).

        Raises:
            InputError: as :func:`~nf_plugins.evaluation.evaluate_surfaces.evaluate_surfaces`; if the scene moves, a
                file of the reference is missing, or nothing tells the number of the scan.
        """
        from nf_plugins.engine.load_run import load_run
        from nf_plugins.evaluation.dataset_images import dataset_for_split
        from nf_plugins.evaluation.evaluate_run import training_block
        from nf_plugins.evaluation.evaluate_surfaces import SurfaceEvaluationOptions, evaluate_surfaces
        from nf_plugins.evaluation.evaluate_views import is_still

        config, pipeline, checkpoint, step = load_run(load_config, test_mode="test")
        if not is_still(dataset_for_split(pipeline.datamanager, "train")):
            raise InputError(
                f"The scene of the run {load_config} moves, nf-eval dtu measures scenes that stand still: use nf-eval "
                "--load-config, with --mesh-frames for its meshes."
            )
        options = SurfaceEvaluationOptions(
            reference=self.reference(config),
            mesh_resolution=self.mesh_resolution,
            principal_axes=self.principal_axes,
            cull_masks=self.cull_by_masks,
            cull_dilation=self.mask_dilation,
            mesh_samples=self.mesh_samples,
            use_lpips=self.lpips,
            image_stride=self.image_stride,
            error_clouds=self.error_clouds,
        )
        folder = evaluation_folder(load_config)
        result = evaluate_surfaces(pipeline, config, step, folder, options=options, checkpoint=checkpoint)
        result["training"] = training_block(folder.parent)
        return result

    def reference(self, config: Any) -> SurfaceReference | None:
        """The reference of the scan that a run was trained on; None without ``--dtu-root``."""
        from nf_plugins.evaluation.dtu_reference import read_dtu_reference

        if self.dtu_root is None:
            return None
        scan = self.scan if self.scan is not None else scan_of(data_folder(config))
        return read_dtu_reference(self.dtu_root, scan)


def data_folder(config: Any) -> Path:
    """The folder of the data of a run."""
    datamanager = config.pipeline.datamanager
    return Path(getattr(datamanager, "data", None) or datamanager.dataparser.data)


def scan_of(data: Path) -> int:
    """The number in the name of a scan's folder, such as scan65 or dtu_scan24.

    Raises:
        InputError: if it has none.
    """
    found = re.search(r"scan_?(\d+)", data.name)
    if found is None:
        raise InputError(
            f"The name of the data folder {data} holds no scanNN: give the number of the scan with --scan."
        )
    return int(found.group(1))


def summary(result: dict[str, Any]) -> dict[str, str]:
    """The numbers of a run that are there, by what they are called in print."""
    protocol = result["protocol"]
    lines = {"method": str(protocol["method"]), "data": Path(protocol["data"]).name, "step": str(protocol["step"])}
    for key, views in (("train_views", "trained"), ("held_out_views", "held out")):
        block = result[key]
        if block is not None:
            lines[f"views, {views}"] = str(block["num_images"])
            for name, title in METRICS.items():
                if block["mean"][name] is not None:
                    lines[f"{title}, {views}"] = f"{block['mean'][name]:.4f}"
    if result["mesh"] is not None:
        lines["faces of the mesh"] = str(result["mesh"]["num_faces"])
    if result["dtu_chamfer"] is not None:
        lines |= {f"DTU {name} (mm)": f"{result['dtu_chamfer'][name]:.4f}" for name in DTU_NAMES}
    if result["surface_distances"] is not None:
        lines["Chamfer to the true mesh (world units)"] = f"{result['surface_distances']['chamfer_l2_mean']:.5f}"
    if result["camera_accuracy"] is not None:
        for when, errors in result["camera_accuracy"].items():
            for name, title in (("rotation_degrees", "degrees"), ("translation_world_units", "world units")):
                lines[f"camera error {when}, mean ({title})"] = f"{errors[name]['mean']:.4f}"
    return lines
