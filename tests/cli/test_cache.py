"""nf-cache on a run that was trained for three steps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nf_plugins.cli.cache import CacheExport, CacheGrid, CacheImport
from nf_plugins.cli.cache_compare import CacheCompare
from nf_plugins.errors import InputError


@pytest.fixture(scope="module")
def run_dir(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that caches may be written to."""
    folder = tmp_path_factory.mktemp("cached") / "run"
    shutil.copytree(tiny_run.parent, folder)
    return folder


def test_a_cache_is_made_compared_exported_and_imported(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_dir / "config.yml"
    grid = CacheGrid(config, resolution=(8, 8, 8), frames=(0, -1, 1), threshold=0.2)
    grid.main()
    text = " ".join(capsys.readouterr().out.split())
    assert "6 frames of 8 x 8 x 8 cells" in text and "denser than 0.2 per world unit" in text
    with pytest.raises(InputError, match="exists already"):
        grid.main()
    replace(grid, tag="hull", threshold=None, source="masks", frames=(0, 2, 2)).main()
    CacheCompare(config, tags=("default",), resolutions=(4,), raw_thresholds=(0.0,), images=2).main()
    result = json.loads((run_dir / "evaluation" / "caches.json").read_text())
    assert [row[0] for row in result["rows"]] == ["without cache", "default", "4 cells, raw 0"]
    CacheExport(config, output_dir=tmp_path).main()
    CacheImport(config, folder=tmp_path).main()
    bits = [np.load(run_dir / "occupancy" / f"{tag}.npz")["bits"] for tag in ("default", "imported")]
    assert np.array_equal(*bits)


def test_a_cache_of_another_checkpoint(run_dir: Path) -> None:
    config = run_dir / "config.yml"
    if not (run_dir / "occupancy" / "default.npz").exists():
        CacheGrid(config, resolution=(4, 4, 4)).main()
    checkpoint = next((run_dir / "nerfstudio_models").glob("*.ckpt"))
    state = torch.load(checkpoint, weights_only=False)
    key = next(key for key in state["pipeline"] if key.endswith("raw_beta"))
    state["pipeline"][key] += 0.01
    torch.save(state, checkpoint)
    with pytest.raises(InputError, match="another checkpoint"):
        CacheCompare(config, tags=("default",), images=1).main()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0, "auto_threshold": True}, "Give one of"),
        ({"source": "masks", "raw_threshold": 5.0}, "has no densities"),
        ({"threshold": 0.0}, "expected a density above 0"),
        ({"dilate": -1}, "--dilate"),
        ({"source": "points"}, "needs --points-folder"),
        ({"resolution": (0, 8, 8)}, "--resolution"),
        ({"tag": "a/b"}, "is no name"),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CacheGrid(Path("nowhere"), **options).main()


def test_a_comparison_of_nothing() -> None:
    with pytest.raises(InputError, match="Name what to compare"):
        CacheCompare(Path("nowhere")).main()
    with pytest.raises(InputError, match="--images is 0"):
        CacheCompare(Path("nowhere"), tags=("x",), images=0).main()
