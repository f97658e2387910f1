"""The wheel: what it holds, and what it registers where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("nf_plugins", "method_configs", "dataparsers")
GROUPS = ("nerfstudio.method_configs", "nerfstudio.dataparser_configs", "console_scripts")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, without the network."""
    tree = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "outputs", "data_", "build", "dist")
    for name in (*PACKAGES, "tests", "scripts", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree / name)
    build = "import setuptools.build_meta as backend; print(backend.build_wheel('dist'))"
    process = subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (path,) = (tree / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed, not editable, into an empty folder."""
    target = tmp_path_factory.mktemp("installed")
    uv = Path(sys.executable).with_name("uv")
    pip = [str(uv), "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
    offline = "--offline" if uv.exists() else "--no-index"
    command = [*pip, "install", "--quiet", "--no-deps", offline, "--target", str(target), str(wheel)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return target


def expected_entry_points(project: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {**project["entry-points"], "console_scripts": project["scripts"]}


def test_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"{wheel.name.split('-py3')[0]}.dist-info"}
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == sources


def test_wheel_is_for_every_platform_and_names_its_licence(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert all(any(name.endswith(f"/{file}") for name in names) for file in ("LICENSE", "NOTICE"))


def test_every_source_folder_is_a_package() -> None:
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            assert (source.parent / "__init__.py").is_file(), f"{source.parent} would be left out of the wheel"


def test_installed_wheel_registers_every_entry_point_and_each_loads(installed: Path, project: dict[str, Any]) -> None:
    program = f"""
import json, sys
sys.path.insert(0, {str(installed)!r})
from importlib.metadata import distributions
import nerfstudio.configs.base_config
(distribution,) = [d for d in distributions(path=[{str(installed)!r}]) if d.metadata["Name"] == "nf-plugins"]
found = {{}}
for entry_point in distribution.entry_points:
    loaded = entry_point.load()
    found.setdefault(entry_point.group, {{}})[entry_point.name] = entry_point.value
    if entry_point.group == "nerfstudio.method_configs":  # what ns-train calls it is what its config says
        assert loaded.config.method_name == entry_point.name and loaded.description, entry_point
files = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] in {PACKAGES!r}]
print("FOUND", json.dumps([found, files]))
"""
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=installed, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    found, files = json.loads(process.stdout.split("FOUND")[1])
    assert {group: found[group] for group in GROUPS} == expected_entry_points(project)
    assert files
    assert all(Path(file).is_relative_to(installed) for file in files)


def test_lock_names_exact_versions_and_nothing_of_the_machine() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    for line in lines:
        requirement = line.split(" ; ")[0]
        name, _, version = requirement.partition("==")
        assert name, line
        assert version.replace(".", "").replace("post", "").replace("rc", "").isalnum(), line
        assert "/" not in line, line
        assert "+" not in line, line
    for pinned in ("torch==2.11.0", "torchvision==0.26.0", "nerfstudio==1.1.5"):
        assert pinned in lines


def test_lock_covers_what_the_project_asks_for(project: dict[str, Any]) -> None:
    from packaging.requirements import Requirement

    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    locked = [Requirement(line) for line in lines]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        versions = [
            str(entry.specifier).removeprefix("==")
            for entry in locked
            if entry.name == wanted.name and (entry.marker is None or entry.marker.evaluate())
        ]
        assert len(versions) == 1, wanted
        assert wanted.specifier.contains(versions[0]), f"{wanted} is locked at {versions[0]}"
