"""``nf-render meshes``: a folder of meshes as moving pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nf_plugins.errors import InputError

if TYPE_CHECKING:
    from nf_plugins.exporters.mesh_animation import MeshSource, MeshView


@dataclass
class RenderMeshes:
    """A folder of meshes (nf-export mesh --all-frames) becomes a video; needs no run and no GPU."""

    input_dir: Path
    """Folder of meshes, in the order of its meshes.json, or else of the numbers in their names."""
    output_path: Path
    """What to write, by its suffix: .mp4, .gif, or none for a folder of PNGs."""
    truth_dir: Path | None = None
    """Folder of the true meshes, shown to the left; matched by the frame in the name, or by order."""
    truth_units: Literal["same", "scene"] = "same"
    """Units of the true meshes: those of the meshes, or of the scene (mesh/ of an Owlii scene, while nf-export writes
    world units unless told otherwise)."""
    color: Literal["auto", "vertex", "shaded", "normal"] = "auto"
    """Colours of the vertices, grey under a lamp, or normals; auto takes the colours where there are any."""
    camera: Literal["fixed", "turntable"] = "fixed"
    """A camera that stands, or one that goes round."""
    turns: float = 1.0
    """With --camera turntable: how many times round."""
    projection: Literal["orthographic", "perspective"] = "orthographic"
    """Without or with perspective."""
    up_axis: Literal["x", "y", "z", "-x", "-y", "-z"] = "z"
    """The axis that points up."""
    azimuth: float = -45.0
    """Where the camera stands or starts: degrees around the up axis (the default sees from (1, -1, 0) with z up)."""
    elevation: float = 0.0
    """How high the camera stands: degrees above the ground."""
    field_of_view: float = 35.0
    """With --projection perspective: opening angle, degrees."""
    zoom: float = 1.0
    """Enlarges the picture; at 1 the sphere around all meshes fits, from wherever it is seen."""
    resolution: tuple[int, int] = (512, 512)
    """Width and height of one picture, pixels."""
    supersampling: int = 2
    """Each pixel is the mean of n x n rays."""
    background: Literal["white", "black"] = "white"
    """What is behind the meshes."""
    num_frames: int | None = None
    """Number of frames over which the meshes are spread (default: one for each mesh)."""
    frame_stride: int = 1
    """Take every n-th mesh."""
    fps: float = 24.0
    """Frames per second of the video."""
    ping_pong: bool = False
    """Play forwards and then backwards, so that the video loops without a jump."""

    def main(self) -> None:
        """Read the folder, paint, and say where the result lies."""
        self.check()
        from nerfstudio.utils.rich_utils import CONSOLE

        from nf_plugins.exporters.mesh_animation import animate, mesh_order
        from nf_plugins.exporters.trajectories import ping_pong

        sources = self.sources()
        order = mesh_order(len(sources[0].files), self.num_frames)
        if self.ping_pong:
            order = [order[position] for position in ping_pong(len(order))]
        animate(sources, self.view(), order, self.output_path, self.fps)
        CONSOLE.print(f"{len(order)} frames: {self.output_path}", soft_wrap=True)

    def check(self) -> None:
        """Raise InputError for whatever can be seen to be wrong before a mesh is read."""
        from nf_plugins.exporters.video import check_frame_output

        self.view().check()
        if self.num_frames is not None and self.num_frames < 1:
            raise InputError(f"--num-frames must be at least 1, found {self.num_frames}.")
        if self.frame_stride < 1:
            raise InputError(f"--frame-stride must be at least 1, found {self.frame_stride}.")
        if self.fps <= 0:
            raise InputError(f"--fps must be positive, found {self.fps:g}.")
        self.sources()
        check_frame_output(self.output_path)

    def view(self) -> MeshView:
        """What the options say of the camera."""
        from nf_plugins.exporters.mesh_animation import MeshView

        return MeshView(
            color=self.color,
            projection=self.projection,
            up=self.up_axis,
            azimuth=self.azimuth,
            elevation=self.elevation,
            turns=self.turns if self.camera == "turntable" else 0.0,
            field_of_view=self.field_of_view,
            zoom=self.zoom,
            resolution=self.resolution,
            supersampling=self.supersampling,
            background=self.background,
        )

    def sources(self) -> list[MeshSource]:
        """The panels from left to right."""
        from nf_plugins.exporters.mesh_animation import MeshSource, matching_truth
        from nf_plugins.exporters.mesh_folder import read_mesh_folder, world_from_scene_of

        files, header = read_mesh_folder(self.input_dir)
        files = files[:: self.frame_stride]
        if not any(file.path for file in files):
            raise InputError(f"--frame-stride {self.frame_stride} leaves none of the meshes in {self.input_dir}.")
        if self.truth_dir is None:
            return [MeshSource(files)]
        transform = None
        if self.truth_units == "scene" and header.get("units") != "scene":
            transform = world_from_scene_of(header)
            if transform is None:
                raise InputError(
                    f"--truth-units scene: {self.input_dir} says nothing of the way from scene to world units (no "
                    "meshes.json of this release); export the meshes anew, or with --units scene."
                )
        truths, _ = read_mesh_folder(self.truth_dir)
        return [MeshSource(matching_truth(files, truths, self.truth_dir), transform), MeshSource(files)]
