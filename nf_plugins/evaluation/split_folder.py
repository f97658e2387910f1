"""What a run shows of one split, as files: image folders, labelled grids, their video, results as JSON and YAML.

    SPLIT/
      results.json results.yaml     means, per frame, per camera, per image, and under which conditions
      rgb/ rgb_gt/                  rendered and true images
      normal/ depth/ mask/          what else the model renders: pictures of normals, of depth (jet), of opacity
      grid/                         true | rendered | normals | depth | opacity, labelled with the time
      grid.mp4                      the grids in order of time

With several cameras every folder has one folder per camera, and every camera has its own ``grid_CAMERA.mp4``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.atomic_files import atomic_path, check_writable
from nf_plugins.errors import InputError
from nf_plugins.evaluation.contact_sheet import TITLES, SheetRow, contact_sheet, enlarge, row_label
from nf_plugins.evaluation.dataset_images import ImageIdentity, RenderedImage, image_identity
from nf_plugins.evaluation.result_files import RESULTS, write_results
from nf_plugins.exporters.image_files import Image8, read_image, to_8_bit, write_image
from nf_plugins.exporters.rendering import OutputPainter
from nf_plugins.exporters.video import frame_writer
from nf_plugins.progress import progress_bar

PROGRESS = ".progress.jsonl"
NORMAL_OUTPUTS = ("normal_rgb", "normal", "normals")
COLUMNS = {
    "rgb_gt": "true",
    "rgb": TITLES["rgb"],
    "normal": TITLES["normal_rgb"],
    "depth": TITLES["depth"],
    "mask": TITLES["accumulation"],
}
"""Image folders in the order of the grid's columns, and what these are called there."""
SMALLEST_PANEL_HEIGHT = 96


@dataclass(frozen=True)
class FolderOptions:
    """Where the folders of the splits go, and how."""

    output_dir: Path
    """Gets one folder per split."""
    fps: float = 24.0
    """Frames per second of the grid's video."""
    fresh: bool = False
    """Take over nothing of what an earlier evaluation left there."""


class SplitFolder:
    """The folder of one split while it is being filled.

    Every image is written as soon as it is rendered, and noted in a progress file with its metrics. An evaluation that
    was interrupted continues there; a complete one is not done again. Both hold only for the same checkpoint file,
    images, metrics and version of this package; otherwise the folder is filled anew.

    Args:
        options: See ``FolderOptions``.
        split: Name of the split.
        dataset: The evaluated dataset.
        conditions: What the numbers depend on, plain values; None if they can never be taken over.

    Raises:
        InputError: if the folder cannot be written to, or holds something that no evaluation wrote.
    """

    def __init__(self, options: FolderOptions, split: str, dataset: Any, conditions: dict[str, Any] | None) -> None:
        self.folder = options.output_dir / split
        self.fps = options.fps
        self._identities = [image_identity(dataset, index) for index in range(len(dataset))]
        self.stems = image_stems(self._identities, getattr(dataset, "metadata", None) or {})
        self._conditions = conditions
        self._rows: dict[int, dict[str, Any]] = {}
        depth_range = None
        self._check_ours()
        check_writable(self.folder / RESULTS)
        if not options.fresh and conditions is not None:
            depth_range = self._read_progress()
        self._painter = OutputPainter(["depth"], depth_range, depth_colormap="jet")
        if options.fresh or (not self._rows and self.stored_result() is None):
            self._empty()
            self._note({"conditions": conditions})

    def stored_result(self) -> dict[str, Any] | None:
        """The complete result that lies here, if it was measured under the same conditions."""
        try:
            content = json.loads((self.folder / RESULTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        stored = content.get("folder", {}).get("conditions") if isinstance(content, dict) else None
        return content if stored is not None and stored == self._conditions else None

    def stored_row(self, index: int) -> dict[str, Any] | None:
        """The metrics of an image that an interrupted evaluation has written already."""
        row = self._rows.get(index)
        written = [self._path(name, index) for name in ("rgb", "rgb_gt", "grid")]
        return row if row is not None and all(path.is_file() for path in written) else None

    def add(self, index: int, row: dict[str, Any], image: RenderedImage) -> None:
        """Write the pictures of one image, then note its metrics."""
        known_range = self._painter.depth_range
        panels = self._panels(image)
        if self._painter.depth_range != known_range:
            self._note({"depth_range": self._painter.depth_range})
        for name, panel in panels.items():
            write_image(self._path(name, index), panel)
        columns = [np.broadcast_to(panel, (*panel.shape[:2], 3)) for panel in panels.values()]
        sheet_row = SheetRow(
            row_label(self._identities[index]), [enlarge(column, SMALLEST_PANEL_HEIGHT) for column in columns]
        )
        write_image(self._path("grid", index), contact_sheet([sheet_row], [COLUMNS[name] for name in panels]))
        self._note({"row": row})

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write the videos and the results.

        Returns:
            The result with what belongs to this folder.
        """
        self._write_videos()
        content = {
            **result,
            "folder": {
                "conditions": self._conditions,
                "depth_range": self._painter.depth_range,
                "files": {str(index): f"{stem}.png" for index, stem in enumerate(self.stems)},
            },
        }
        write_results(self.folder, content)
        (self.folder / PROGRESS).unlink(missing_ok=True)
        return content

    def _panels(self, image: RenderedImage) -> dict[str, Image8]:
        """Pictures by folder, in the order of the grid."""
        panels = {"rgb_gt": to_8_bit(image.truth), "rgb": to_8_bit(image.rgb)}
        normal = next((name for name in NORMAL_OUTPUTS if name in image.outputs), None)
        if normal is not None:
            panels["normal"] = OutputPainter([normal])(image.outputs)
        if "depth" in image.outputs:
            panels["depth"] = self._painter(image.outputs)
        if image.accumulation is not None:
            panels["mask"] = to_8_bit(image.accumulation)
        return panels

    def _path(self, name: str, index: int) -> Path:
        return self.folder / name / f"{self.stems[index]}.png"

    def _note(self, entry: dict[str, Any]) -> None:
        with (self.folder / PROGRESS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _read_progress(self) -> tuple[float, float] | None:
        """Take over the rows of an interrupted evaluation.

        Returns:
            Its range of depth colours.
        """
        try:
            lines = (self.folder / PROGRESS).read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        entries = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:  # the process ended in the middle of it
                break
        if not entries or entries[0].get("conditions") != self._conditions:
            return None
        with atomic_path(self.folder / PROGRESS) as temporary:  # without half a line, which the next would be joined to
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        rows = [entry["row"] for entry in entries if "row" in entry]
        self._rows = {row["image_index"]: row for row in rows}
        if rows:
            CONSOLE.print(f"{self.folder}: continued after {len(self._rows)} of {len(self.stems)} images.")
        ranges = [entry["depth_range"] for entry in entries if entry.get("depth_range")]
        return (ranges[-1][0], ranges[-1][1]) if ranges else None

    def _check_ours(self) -> None:
        marks = (self.folder / RESULTS, self.folder / PROGRESS)
        if self.folder.is_dir() and any(self.folder.iterdir()) and not any(mark.is_file() for mark in marks):
            raise InputError(
                f"{self.folder} holds something else than the results of an evaluation; choose another --output-dir."
            )

    def _empty(self) -> None:
        """Remove what an evaluation under other conditions has left."""
        for name in (*COLUMNS, "grid"):
            for path in (self.folder / name).rglob("*.png"):
                path.unlink()
        for path in (*self.folder.glob("grid*.mp4"), *self.folder.glob("results.*"), self.folder / PROGRESS):
            path.unlink(missing_ok=True)

    def _write_videos(self) -> None:
        of_camera: dict[str, list[int]] = defaultdict(list)
        for index, stem in enumerate(self.stems):
            of_camera[stem.parent.name].append(index)
        with progress_bar() as progress:
            for camera, indices in progress.track(of_camera.items(), description="Grids to video"):
                in_time = sorted(indices, key=lambda index: (self._identities[index]["time"] or 0.0, index))
                name = f"grid_{camera}.mp4" if camera else "grid.mp4"
                write_grid_video(self.folder / name, [self._path("grid", index) for index in in_time], self.fps)


def image_stems(identities: Sequence[ImageIdentity], metadata: dict[str, Any]) -> list[Path]:
    """Names of the images' files without suffix: ``[CAMERA/]FFFFFF``.

    There is a folder per camera when there are several, unless each of them took one image only. FFFFFF is the frame
    where every image was taken at the time of a training frame and no folder would hold a frame twice, otherwise the
    image's place in the split.
    """
    frame_times = metadata.get("frame_times")
    in_folders = 1 < len({identity["camera_id"] for identity in identities}) < len(identities)
    taken = Counter((identity["camera_id"] if in_folders else None, identity["frame_id"]) for identity in identities)
    by_frame = max(taken.values()) == 1 and all(is_at_its_frame(identity, frame_times) for identity in identities)
    stems = []
    for identity in identities:
        name = f"{identity['frame_id'] if by_frame else identity['image_index']:06d}"
        stems.append(Path(camera_name(identity["camera_id"], metadata), name) if in_folders else Path(name))
    return stems


def is_at_its_frame(identity: ImageIdentity, frame_times: torch.Tensor | None) -> bool:
    """Whether an image was taken at the time of the training frame that it is nearest to."""
    time, frame = identity["time"], identity["frame_id"]
    if frame_times is None or time is None or frame is None:
        return False
    return abs(time - float(frame_times[frame])) < 1e-6


def camera_name(camera_id: int | None, metadata: dict[str, Any]) -> str:
    """The dataparser's name of a camera, or ``cam_III``."""
    names = metadata.get("camera_names")
    if names is not None and camera_id is not None and 0 <= camera_id < len(names):
        return re.sub(r"[^\w-]+", "_", str(names[camera_id]))
    return "cam_none" if camera_id is None else f"cam_{camera_id:03d}"


def write_grid_video(path: Path, images: Sequence[Path], fps: float) -> None:
    """A video of image files, read one by one; smaller ones are padded with white at the right and below."""
    from PIL import Image

    sizes = []
    for image in images:
        with Image.open(image) as header:
            sizes.append((header.height, header.width))
    height, width = (max(side) for side in zip(*sizes, strict=True))
    with frame_writer(path, fps) as add_frame:
        for image in images:
            frame = np.full((height, width, 3), 255, dtype=np.uint8)
            pixels = read_image(image)
            frame[: pixels.shape[0], : pixels.shape[1]] = pixels
            add_frame(frame)


def evaluation_conditions(
    config: Any, dataset: Any, split: str, step: int, checkpoint: Path | None, **settings: Any
) -> dict[str, Any] | None:
    """What tells whether results can be taken over; None for weights that lie in no file."""
    if checkpoint is None or not Path(checkpoint).is_file():
        return None
    status = Path(checkpoint).stat()
    cameras = dataset.cameras
    images = hashlib.sha256("\n".join(map(str, dataset.image_filenames)).encode())
    images.update(torch.cat([cameras.height, cameras.width], dim=1).cpu().numpy().tobytes())
    try:
        package_version = version("nf-plugins")
    except PackageNotFoundError:
        package_version = "unknown"
    return {
        "method": config.method_name,
        "split": split,
        "step": int(step),
        "checkpoint": [Path(checkpoint).name, status.st_size, status.st_mtime_ns],
        "images": images.hexdigest(),
        "version": package_version,
        **settings,
    }
