"""The documentation says what the code does: generated parts are fresh, names exist, links lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nf_plugins.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
METHOD_PAGE = ROOT / "docs" / "methods" / "resfields.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS = set(PROJECT["scripts"])
METHODS = set(PROJECT["entry-points"]["nerfstudio.method_configs"])
DATAPARSERS = set(PROJECT["entry-points"]["nerfstudio.dataparser_configs"])
OPTIONS_OF_OTHERS = {"normal-method", "load-config", "output-path", "help", "num-frames-target"}
"""Options of nerfstudio's own commands that the documentation names beside ours."""
OPTIONS_OF_COLMAP = {"workspace_path", "image_path", "single_camera", "camera_model", "dense"}
NAMES_OF_NERFSTUDIO = {"nerfstudio-data", "ns-process-data"}
"""Names that end like those of our dataparsers."""


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("update_readme", ROOT / "scripts" / "update_readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(text: str) -> set[str]:
    """What a heading is called in a link: lower case, no punctuation, hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_generated_parts_equal_what_the_generator_makes(generator: ModuleType) -> None:
    stale = [relative(path) for path in generator.out_of_date()]
    assert stale == [], "run python scripts/update_readme.py"


def test_every_page_of_results_has_its_json() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "results").glob("*.md")} - {"README"}
    assert pages <= {path.stem for path in (ROOT / "docs" / "results").glob("*.json")}


def test_results_become_a_table_with_notes_and_a_page_with_command_and_protocol(
    generator: ModuleType, tmp_path: Path
) -> None:
    result = {
        "title": "Speed",
        "command": "python scripts/measure.py",
        "protocol": {"machine": "two cores"},
        "columns": ["method", "PSNR", "steps", "moves"],
        "rows": [["a|b", 21.23456, 400000, True], ["c", None, 1234.5, False]],
        "notes": ["One run."],
    }
    (tmp_path / "speed.json").write_text(json.dumps(result))
    (tmp_path / "other.json").write_text("[1]")
    results = generator.read_results(tmp_path)
    assert list(results) == ["speed"]
    rows = "| a\\|b | 21.23 | 400000 | yes |\n| c | - | 1234 | no |"
    section = generator.readme_section(results)
    assert (
        f"### Speed\n\n| method | PSNR | steps | moves |\n| --- | ---: | ---: | --- |\n{rows}\n\n- One run." in section
    )
    assert "(docs/results/speed.md)" in section
    page = generator.results_page(results["speed"])
    assert "python scripts/measure.py" in page and "| machine | two cores |" in page and rows in page
    text = generator.with_section("a\n<!-- results:begin -->\nold\n<!-- results:end -->\nb\n", "results", section)
    assert text.startswith("a\n") and text.endswith("\nb\n") and "old" not in text
    assert generator.with_section(text, "results", section) == text


def test_wrong_results_are_named(generator: ModuleType, tmp_path: Path) -> None:
    result = {"title": "t", "command": "c", "protocol": {}, "columns": ["a", "b"], "rows": [[1]]}
    path = tmp_path / "short.json"
    path.write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"short\.json has 1 cells, expected 2"):
        generator.read_results(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"short\.json is no valid JSON"):
        generator.read_results(tmp_path)
    with pytest.raises(InputError, match="results:begin"):
        generator.with_section("no markers", "results", "")


def test_option_tables_hold_every_field_of_the_config_classes() -> None:
    from method_configs.resfields import resfields_tnerf

    model = resfields_tnerf.config.pipeline.model
    text = METHOD_PAGE.read_text(encoding="utf-8")
    for config, prefix in ((model.sdf_field, "sdf-field."), (model.occupancy, "occupancy.")):
        for field in dataclasses.fields(config):
            if field.name != "_target":
                option = f"--pipeline.model.{prefix}{field.name.replace('_', '-')}"
                assert f"| `{option}` | `{getattr(config, field.name)}` |" in text


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_commands_and_methods_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w/-])nf-[a-z]+(?:-[a-z]+)*", text)) <= COMMANDS | {"nf-plugins"}
    assert set(re.findall(r"ns-train ([a-z][\w-]*)", text)) <= METHODS
    assert set(re.findall(r"\b(?:resfields|tnerf)-[a-z][a-z-]*\b", text)) <= METHODS
    assert set(re.findall(r"`(\w[\w-]*-data)`", text)) <= DATAPARSERS | COMMANDS | NAMES_OF_NERFSTUDIO


def names_in_tables(text: str) -> set[str]:
    """What cells name that hold nothing but names, one or a family of them."""
    cells = [cell.strip() for line in text.splitlines() if line.startswith("| ") for cell in line.split("|")]
    families = [cell for cell in cells if re.fullmatch(r"`[^`]+`(, `[^`]+`)*", cell)]
    return {name for family in families for name in re.findall(r"`([^`]+)`", family)}


def test_readme_names_everything_that_is_registered() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = names_in_tables(text)
    for name in sorted(COMMANDS | METHODS | DATAPARSERS):
        base, _, preset = re.fullmatch(r"(.*?)(-(published|tiny))?", name).group(1, 2, 3)  # type: ignore[union-attr]
        assert base in rows, f"{name} has no row in README.md"
        assert preset is None or f"-{preset}`" in text, f"README.md does not mention {name}"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), f"{relative(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{relative(page)} links to {link}"


def field_names(config_class: Any) -> Iterator[str]:
    for field in dataclasses.fields(config_class):
        yield field.name.replace("_", "-")
        yield from re.findall(r"tyro\.conf\.arg\(name=['\"]([\w-]+)", str(field.type))
        if field.type in ("bool", bool):
            yield f"no-{field.name.replace('_', '-')}"


def value_at(config: Any, dotted: str) -> Any:
    """The value that an option of ns-train sets.

    Raises:
        AttributeError, LookupError: There is no such option.
    """
    for part in dotted.replace("-", "_").split("."):
        if isinstance(config, tuple) and part.isdecimal():
            config = config[int(part)]
        else:
            config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


def has_value(config: Any, dotted: str) -> bool:
    """Whether ns-train has such an option for a method."""
    try:
        value_at(config, dotted)
    except (AttributeError, LookupError):
        return False
    return True


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "results"], ids=relative)
def test_options_that_a_page_names_exist(page: Path) -> None:
    from nerfstudio.configs.dataparser_configs import all_dataparsers
    from nerfstudio.configs.method_configs import all_methods

    from nf_plugins.cli.cache import CacheExport, CacheGrid, CacheImport
    from nf_plugins.cli.cache_compare import CacheCompare
    from nf_plugins.cli.check_data import CheckData
    from nf_plugins.cli.eval import Evaluate
    from nf_plugins.cli.eval_dtu import EvaluateDTU
    from nf_plugins.cli.eval_monocular import EvaluateMonocular
    from nf_plugins.cli.eval_multiview import EvaluateMultiview
    from nf_plugins.cli.export import ExportMesh
    from nf_plugins.cli.export_points import ExportPoints
    from nf_plugins.cli.process_data import Convert, MaskedViews, MonocularVideo, MultiviewVideo, Rgbd
    from nf_plugins.cli.render import RenderBoth, RenderCamera, RenderTime
    from nf_plugins.cli.render_meshes import RenderMeshes
    from nf_plugins.cli.render_slow_motion import RenderSlowMotion
    from nf_plugins.cli.render_snapshots import RenderSnapshots
    from nf_plugins.cli.render_transfer import RenderTransfer
    from nf_plugins.cli.run_scans import RunScans
    from nf_plugins.data.synthetic.generate import SynthOptions

    configs = [all_methods[name] for name in sorted(METHODS)]
    classes = (
        CheckData, Evaluate, ExportMesh, RenderTime, RenderCamera, RenderBoth, RenderMeshes, SynthOptions,
        MaskedViews, MonocularVideo, MultiviewVideo, Rgbd, RenderSnapshots, RenderTransfer, RunScans, EvaluateDTU,
        EvaluateMonocular, RenderSlowMotion, EvaluateMultiview, ExportPoints, Convert, CacheGrid, CacheCompare,
        CacheImport, CacheExport,
        *(type(all_dataparsers[name]) for name in DATAPARSERS), *map(type, configs),
    )  # fmt: skip
    known = (OPTIONS_OF_OTHERS | OPTIONS_OF_COLMAP).union(*(field_names(config_class) for config_class in classes))
    for option in re.findall(r"(?<![\w-])--([a-z][\w.-]*\w)", page.read_text(encoding="utf-8")):
        found = any(has_value(config, option) for config in configs) if "." in option else option in known
        assert found, f"{relative(page)} names --{option}"


KINDS = ("tnerf", "dynerf", "dnerf", "nerfies", "hypernerf", "ndr")


def test_presets_are_as_the_table_says() -> None:
    from method_configs import resfields

    lines = METHOD_PAGE.read_text(encoding="utf-8").split("## Presets")[1].split("## ")[0].splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    header, body = rows[0], rows[2:]
    of_tnerf = {name for name in METHODS if re.fullmatch(r"(resfields-)?tnerf(-sdf)?(-published|-tiny)?", name)}
    assert set(header[1:]) == of_tnerf
    assert len(body) > 10
    for option, *values in body:
        for method, value in zip(header[1:], values, strict=True):
            # The page says that all six methods have the presets of the first.
            for kind in KINDS:
                sibling = method.replace("tnerf", kind).replace("-", "_")
                if not hasattr(resfields, sibling):
                    assert sibling.endswith("_sdf_tiny"), sibling
                    continue
                actual = value_at(getattr(resfields, sibling).config, option)
                if isinstance(actual, tuple):
                    actual = " ".join(map(str, actual)) or "none"
                assert str(actual) == value, f"{option} of {sibling}"


def test_parameter_counts_are_as_the_method_page_says() -> None:
    import torch

    from method_configs import resfields
    from nf_plugins.fields.scene_motion import build_scene_motion

    text = METHOD_PAGE.read_text(encoding="utf-8")
    for kind in KINDS:
        counts = []
        for method in (f"{kind}_sdf", f"resfields_{kind}"):
            model = getattr(resfields, method).config.pipeline.model
            motion = build_scene_motion(model.motion, 100, model.sdf_field.num_time_frequencies)
            field = model.sdf_field.setup(frame_times=torch.linspace(0, 1, 100), **motion._asdict())
            counts.append(f"{sum(parameter.numel() for parameter in field.parameters()):,}".replace(",", " "))
        row = next(line for line in text.splitlines() if line.startswith(f"| `resfields-{kind}`"))
        assert row.endswith(f"| {counts[0]}, {counts[1]} |")


def test_the_layer_works_in_a_foreign_network_as_its_page_says() -> None:
    """Runs the page's Python blocks in order."""
    import torch

    text = (ROOT / "docs" / "methods" / "residual_layers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    frame_times = torch.linspace(0, 1, 100)
    scope = {
        "times": frame_times[:4],
        "frame_times": frame_times,
        "points": torch.rand(4, 5, 3),
        "ray_times": frame_times[[3, 1, 3, 2]],
        "ray_points": torch.rand(4, 3),
        "features": torch.rand(3, 6, 128),
    }
    shapes = []
    for block in blocks:
        exec(block, scope)
        shapes.append(tuple(scope["output"].shape))
    assert shapes == [(4, 5, 1), (4, 1), (len(scope["frames"]), 6, 128)]
    assert sum(type(layer).__name__ == "ResFieldLinear" for layer in scope["mlp"].modules()) == 2
