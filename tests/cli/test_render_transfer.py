"""nf-render transfer, and the orbit of nf-render camera on a scene that stands still."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from ball_scan import scan_poses
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox
from PIL import Image

from nf_plugins.cli.render import Commands
from nf_plugins.cli.render_transfer import RenderTransfer
from nf_plugins.engine import load_run as load_run_module
from nf_plugins.errors import InputError
from nf_plugins.fields.surface_field import SurfaceFieldConfig
from nf_plugins.models.idr import IDRModelConfig

SIZE = 12


def pipeline(seed: int, feature_dim: int) -> Any:
    """A still scene as a run of idr has it: cameras without times."""
    torch.manual_seed(seed)
    networks = SurfaceFieldConfig(
        num_layers=2, hidden_dim=48, skip_layer=1, feature_dim=feature_dim, color_num_layers=1, color_hidden_dim=16
    )
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model = IDRModelConfig(sdf_field=networks).setup(scene_box=box, num_train_data=8, metadata={}).eval()
    poses = torch.from_numpy((scan_poses(8) @ np.diag([1.0, -1.0, -1.0, 1.0]))[:, :3]).float()
    identities = {"camera_id": torch.arange(8)[:, None]}
    cameras = Cameras(poses, fx=20.0, fy=20.0, cx=6.0, cy=6.0, width=SIZE, height=SIZE, metadata=identities)
    datamanager = SimpleNamespace(train_dataset=Split(cameras))
    return SimpleNamespace(model=model, device=torch.device("cpu"), datamanager=datamanager)


class Split:
    """What rendering reads of a dataset."""

    def __init__(self, cameras: Cameras) -> None:
        self.cameras = cameras
        self.metadata: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.cameras)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of runs a and b, which fit, and c, which does not."""
    settings = {"a": (1, 8), "b": (2, 8), "c": (3, 4)}
    paths = {name: tmp_path / "runs" / name for name in settings}
    for path in paths.values():
        path.mkdir(parents=True)

    def load_run(load_config: Path, test_mode: str) -> tuple[Any, Any, Path, int]:
        assert test_mode == "inference"
        return None, pipeline(*settings[load_config.name]), Path("c.ckpt"), 5

    monkeypatch.setattr(load_run_module, "load_run", load_run)
    return paths


def render(mode: str, *arguments: object) -> None:
    tyro.cli(Commands, args=[mode, *map(str, arguments)]).main()  # type: ignore[arg-type]


def frames_of(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())])


@pytest.mark.parametrize("path", [(), ("--path", "dataset"), ("--path", "ring")])
def test_shape_of_one_colours_of_the_other(runs: dict[str, Path], tmp_path: Path, path: tuple[str, ...]) -> None:
    common = ("--num-frames", 3, "--outputs", "rgb", "normal_rgb", *path)
    for name, geometry, appearance in (("mixed", "a", "b"), ("own", "a", "a")):
        where = ("--output-path", tmp_path / name)
        render("transfer", "--geometry", runs[geometry], "--appearance", runs[appearance], *where, *common)
    mixed, own = frames_of(tmp_path / "mixed"), frames_of(tmp_path / "own")
    assert mixed.shape == (3, SIZE, 2 * SIZE, 3)
    assert np.array_equal(mixed[:, :, SIZE:], own[:, :, SIZE:])
    assert not np.array_equal(mixed[:, :, :SIZE], own[:, :, :SIZE])
    assert (mixed[:, :, :SIZE] == 255).all(-1).any()  # the background of the geometry's run


def test_the_orbit_of_a_still_scene_is_the_camera_s_too(runs: dict[str, Path], tmp_path: Path) -> None:
    orbit = ("--path", "orbit", "--num-frames", 4, "--orbit-views", 0, 3, 5, "--orbit-radius", 2.5, 3.0)
    render("camera", "--load-config", runs["a"], "--output-path", tmp_path / "camera", *orbit)
    render("transfer", "--geometry", runs["a"], "--appearance", runs["a"], "--output-path", tmp_path / "own", *orbit)
    frames = frames_of(tmp_path / "camera")
    assert np.array_equal(frames, frames_of(tmp_path / "own"))
    assert np.array_equal(frames[0], frames[3]) and not np.array_equal(frames[0], frames[1])


def test_the_orbit_has_the_original_s_number_of_frames() -> None:
    arguments = ["transfer", "--geometry", "a", "--appearance", "b", "--output-path", "c"]
    options = tyro.cli(Commands, args=arguments)  # type: ignore[arg-type]
    assert isinstance(options, RenderTransfer) and options.frame_count() == 30


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (("a", "c"), (), r"geometry of .*runs/a cannot have the appearance of .*runs/c: sdf-field.feature-dim is 8"),
        (("a", "missing"), (), r"--appearance .*missing does not exist"),
        (("missing", "a"), (), r"--geometry .*missing does not exist"),
        (("a", "b"), ("--orbit-views", 9), "--orbit-views 9: the split has 8 cameras"),
        (("a", "b"), ("--orbit-views", 1, "--path", "ring"), "--orbit-views needs --path orbit"),
        (("a", "b"), ("--orbit-radius", 4, 3), "--orbit-radius 4 3"),
    ],
)
def test_bad_requests_are_named_and_write_nothing(
    runs: dict[str, Path], tmp_path: Path, names: tuple[str, str], arguments: tuple, message: str
) -> None:
    geometry, appearance = (runs.get(name, tmp_path / name) for name in names)
    options = ("--geometry", geometry, "--appearance", appearance, "--output-path", tmp_path / "out", *arguments)
    with pytest.raises(InputError, match=message):
        render("transfer", *options)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
