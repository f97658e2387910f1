"""The benchmark of a step of NSFF counts what a step asks of the networks, and all its ways have the same losses."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from nf_plugins.fields.scene_flow_field import SceneFlowFieldConfig

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "bench" / "nsff_step.py"
RAYS, EXTRA, SAMPLES = 6, 4, 5


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    specification = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    tiny = module.SIZES["nsff-tiny"].model
    field = SceneFlowFieldConfig(num_layers=3, hidden_dim=16, skip_layer=2, num_position_frequencies=3)
    module.SIZES["nsff-tiny"] = module.Size(replace(tiny, field=field, num_samples=SAMPLES), RAYS, EXTRA)
    return module


def test_the_table(bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "step.json"
    bench.main(bench.Options(sizes=("nsff-tiny",), repetitions=1, output_path=path))
    result = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert all(len(row) == len(result["columns"]) for row in result["rows"])
    rows = {(row[1], row[2]): row for row in result["rows"]}
    first, later = (RAYS + EXTRA) * SAMPLES, RAYS * SAMPLES
    # Static, dynamic at t, t±1, t±2; in all; calls.
    expected = {
        ("A", "published"): [first, first, 2 * first, 0, 4 * first, 4],
        ("A", "this package"): [first, first, 2 * first, 0, 4 * first, 3],
        ("A", "alternate-neighbours"): [first, first, first, 0, 3 * first, 3],
        ("B", "published"): [later, later, 2 * later, 0, 4 * later, 4],
        ("B", "this package"): [later, later, 2 * later, 0, 4 * later, 3],
        ("B", "alternate-neighbours"): [later, later, later, 0, 3 * later, 3],
        ("C", "published"): [later, later, 2 * later, later, 5 * later, 5],
        ("C", "this package"): [later, later, 2 * later, later, 5 * later, 4],
        ("C", "alternate-neighbours"): [later, later, later, later, 4 * later, 4],
    }
    assert {key: row[3:9] for key, row in rows.items()} == expected
    assert rows["A", "this package"][0] == f"nsff-tiny: {RAYS + EXTRA} x {SAMPLES}"


def test_ways_differ_in_cost_alone(bench: ModuleType) -> None:
    size = bench.SIZES["nsff-tiny"]
    model = bench.make_model(size.model, "cpu")
    model.update_to_step(2 * (model.stages.length + 1))
    bundle, batch = bench.bundle_and_batch(model, RAYS, 0)
    losses, products = {}, {}
    for way in bench.WAYS[:2]:
        torch.manual_seed(3)
        with bench.way_of(model, way, RAYS), bench.counted(model.field) as evaluations:
            losses[way] = model.get_loss_dict(model(bundle), batch)
        products[way] = evaluations.multiplications
    assert set(losses["published"]) >= {"chained_loss", "depth_loss", "flow_loss", "temporal_loss"}
    for name, value in losses["this package"].items():
        torch.testing.assert_close(value, losses["published"][name], atol=1e-6, rtol=1e-5)
    assert 0 < products["this package"] < products["published"]
    # The published way is gone again.
    assert "dynamic" not in vars(model.field) and "forward" not in vars(model.field.static_radiance)
