"""Which dataparser reads a folder: the layouts on disk that are told apart by their file names.

Used in error messages alone, so that a wrong ``--data`` or dataparser is answered with the right one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nf_plugins.data.processing.frame_sources import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Layout:
    """A way to lay a capture out on disk."""

    description: str
    """What a user would call it, e.g. "D-NeRF data"."""
    dataparser: str | None
    """Name of the dataparser that reads it; None when neither this package nor nerfstudio has one."""
    matches: Callable[[Path], bool]
    """Whether a folder is laid out like this."""
    tells_little: bool = False
    """Whether parts of other layouts look like this too, so that what lies around a folder says more."""


def _transforms_have_times(path: Path) -> bool | None:
    """Whether the frames of a transforms file carry times; None when the file cannot be read as one."""
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        return len(frames) > 0 and all("time" in frame for frame in frames)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_owlii(folder: Path) -> bool:
    return any(path.parent.joinpath("rgb").is_dir() for path in folder.glob("*/cameras_sphere.npz"))


def _is_dnerf(folder: Path) -> bool:
    return _transforms_have_times(folder / "transforms_train.json") is True


def _is_blender(folder: Path) -> bool:
    return _transforms_have_times(folder / "transforms_train.json") is False


def _is_nerfstudio_with_times(folder: Path) -> bool:
    return _transforms_have_times(folder / "transforms.json") is True


def _is_idr(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("image", "images")) and any(folder.glob("cameras*.npz"))


def _is_neural3dv(folder: Path) -> bool:
    """Several cameras: a video each, or a folder of frames each; LLFF's and NSFF's folders show one camera."""
    if not (folder / "poses_bounds.npy").exists():
        return False
    videos = [path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    images = folder / "images"
    return len(videos) > 1 or (images.is_dir() and any(path.is_dir() for path in images.iterdir()))


def _is_dna_rendering(folder: Path) -> bool:
    return any(folder.glob("*.smc"))


def _is_easyvolcap(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("intri.yml", "extri.yml", "images"))


def _is_nhr(folder: Path) -> bool:
    name = folder.resolve().name.lower()
    return _is_easyvolcap(folder) and any(scene in name for scene in ("sport", "basketball"))


def _is_mesh_sequence(folder: Path) -> bool:
    suffixes = [path.suffix.lower() for path in folder.iterdir() if path.is_file()]
    return ".anime" in suffixes or max(suffixes.count(suffix) for suffix in (".ply", ".obj", ".off")) > 1


def _is_folder_of_images(folder: Path) -> bool:
    suffixes = [path.suffix.lower() for path in folder.iterdir() if path.is_file()]
    return sum(suffix in (".png", ".jpg", ".jpeg") for suffix in suffixes) > 1


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda folder: all((folder / name).exists() for name in names)


LAYOUTS = (
    Layout("Owlii (ResFields) data", "owlii-data", _is_owlii),
    Layout("D-NeRF data", "dnerf-rgba-data", _is_dnerf),
    Layout("Blender (NeRF synthetic) data", "blender-data", _is_blender),
    Layout("nerfstudio's data with times", "nerfstudio-time-data", _is_nerfstudio_with_times),
    Layout("nerfstudio's own data", "nerfstudio-data", _has("transforms.json")),
    Layout("SDFStudio data", "sdfstudio-data", _has("meta_data.json")),
    Layout("a dycheck capture", "dycheck-data", _has("dataset.json", "scene.json", "extra.json", "camera", "splits")),
    Layout("a Nerfies capture", None, _has("dataset.json", "scene.json", "camera")),
    Layout("DTU (NeuS/IDR) data of one static scene", "dtu-data", _is_idr),
    Layout("Neural 3D Video data", "neural3dv-data", _is_neural3dv),
    Layout("DNA-Rendering data", "dna-rendering-data", _is_dna_rendering),
    Layout("LLFF or NSFF data", "nsff-data", _has("poses_bounds.npy")),
    Layout("ZJU-MoCap data", "zju-mocap-data", _has("annots.npy")),
    Layout("NHR data", "nhr-data", _is_nhr),
    Layout("EasyVolcap data", "easyvolcap-data", _is_easyvolcap),
    Layout("EasyMocap data", "zju-mocap-data", _has("intri.yml", "extri.yml")),
    Layout("a sequence of meshes", "mesh-sequence-data", _is_mesh_sequence),
    Layout("the frames of a video", "video-data", _is_folder_of_images, tells_little=True),
)
"""Most telling first: a folder is what its first match says."""
VIDEO_FILE = Layout("a video file", "video-data", lambda path: path.suffix.lower() in VIDEO_SUFFIXES)


def recognise_layout(folder: Path) -> Layout | None:
    """The layout of a folder (or a video file), or None when it has none that is known."""
    if folder.is_file() and VIDEO_FILE.matches(folder):
        return VIDEO_FILE
    if not folder.is_dir():
        return None
    return next((layout for layout in LAYOUTS if layout.matches(folder)), None)


def layout_hint(folder: Path, asked: str) -> str:
    """A sentence that says which dataparser fits a folder that ``asked`` cannot read.

    Looks at the folder, at its parent (a camera's folder was given instead of its scene's) and at its subfolders (a
    folder of scenes was given).

    Args:
        folder: The value of ``--data``.
        asked: Name of the dataparser that was asked to read it.

    Returns:
        One sentence, or an empty string when nothing is recognised.
    """
    layout = recognise_layout(folder)
    if layout is not None and (layout.dataparser == asked or not layout.tells_little):
        return "" if layout.dataparser == asked else _answer(layout)
    if not folder.is_dir():
        return ""
    folder = folder.resolve()
    neighbours = [("parent", folder.parent)]
    neighbours += [("subfolder", path) for path in sorted(folder.iterdir()) if path.is_dir()]
    for relation, neighbour in neighbours:
        around = recognise_layout(neighbour)
        if around is None or around.dataparser is None:
            continue
        if around.dataparser == asked or not around.tells_little:
            give = "" if around.dataparser == asked else f"{around.dataparser} "
            return f"Its {relation} {neighbour.name} looks like {around.description}; give {give}--data {neighbour}."
    return "" if layout is None else _answer(layout)


def _answer(layout: Layout) -> str:
    if layout.dataparser is None:
        return f"It looks like {layout.description}, which neither nf-plugins nor nerfstudio reads."
    return f"It looks like {layout.description}; use {layout.dataparser}."
