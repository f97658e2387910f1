"""What importing us costs others, and which room may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("nf_plugins", "method_configs", "dataparsers")
NEVER_IMPORTED = ("open3d",)
OPTIONAL = ("tinycudann", "nerfacc", "gsplat", "wandb", *NEVER_IMPORTED)
HEAVY = ("torchmetrics", "skimage", "trimesh", "matplotlib", "mediapy", "embreex", "scipy", "av", "cv2", "igl", "h5py")
NS_SCRIPTS = ("train", "eval", "render", "viewer.run_viewer", "exporter")
COMMANDS = (
    "nf-synth", "nf-check-data", "nf-process-data", "nf-eval", "nf-render", "nf-export", "nf-cache", "nf-run-scans",
)  # fmt: skip

# Room -> rooms of ours that it must not reach, at import or later.
FORBIDDEN = {
    "nf_plugins.field_components": ("nf_plugins.", "method_configs", "dataparsers"),
    "nf_plugins.model_components": (
        "nf_plugins.fields", "nf_plugins.models", "nf_plugins.data", "nf_plugins.engine", "nf_plugins.evaluation",
        "nf_plugins.cli", "method_configs", "dataparsers",
    ),
    "nf_plugins.fields": (
        "nf_plugins.models", "nf_plugins.data", "nf_plugins.engine", "nf_plugins.cli", "method_configs", "dataparsers",
    ),
    "nf_plugins.models": ("nf_plugins.engine", "nf_plugins.cli", "method_configs", "dataparsers"),
    "nf_plugins.data": (
        "nf_plugins.fields", "nf_plugins.models", "nf_plugins.engine", "nf_plugins.cli", "method_configs",
    ),
    "nf_plugins.engine": ("nf_plugins.models", "nf_plugins.fields", "nf_plugins.cli", "method_configs", "dataparsers"),
    "nf_plugins.evaluation": ("nf_plugins.models", "nf_plugins.fields", "nf_plugins.cli", "method_configs"),
    "nf_plugins.exporters": ("nf_plugins.models", "nf_plugins.fields", "nf_plugins.cli", "method_configs"),
    "dataparsers": (
        "nf_plugins.fields", "nf_plugins.models", "nf_plugins.engine", "nf_plugins.cli", "method_configs",
        "nerfstudio.data.datamanagers", "nerfstudio.pipelines", "nerfstudio.configs",
    ),
}  # fmt: skip


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative import"
        return [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def imports_anywhere(path: Path) -> set[str]:
    return {name for node in ast.walk(ast.parse(path.read_text())) for name in imported_names(node)}


def imports_at_import(path: Path) -> set[str]:
    """Names imported when the module is: not those in functions, nor those for type checkers only."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        yield from imported_names(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    return set(visit(ast.parse(path.read_text())))


def within(name: str, package: str) -> bool:
    return name == package.rstrip(".") or name.startswith(package if package.endswith(".") else package + ".")


@pytest.mark.parametrize("script", NS_SCRIPTS)
def test_every_ns_script_works_when_it_is_imported_first(script: str) -> None:
    if script == "exporter" and run("import open3d").returncode != 0:
        pytest.skip("open3d cannot be imported on this machine, and ns-export needs it")
    process = run(
        f"import nerfstudio.scripts.{script}; from nerfstudio.configs.method_configs import all_methods;"
        "assert 'resfields-tnerf' in all_methods and 'tnerf-sdf' in all_methods"
    )
    assert process.returncode == 0, process.stderr


def test_entry_points_load_without_importing_anything_optional_or_heavy_themselves() -> None:
    # nerfstudio imports some of these itself, so an import is refused only where one of our modules asks for it.
    program = f"""
import builtins
import nerfstudio.configs.base_config
original, refused = builtins.__import__, {OPTIONAL + HEAVY!r}
def guarded(name, globals=None, *arguments, **keywords):
    origin = (globals or {{}}).get("__name__") or ""
    if origin.split(".")[0] in {PACKAGES!r} and name.split(".")[0] in refused:
        raise ImportError(f"{{origin}} imports {{name}}")
    return original(name, globals, *arguments, **keywords)
builtins.__import__ = guarded
from importlib.metadata import distribution
loaded = [e.load() for e in distribution("nf-plugins").entry_points if e.group.startswith("nerfstudio.")]
assert len(loaded) >= 7
from nerfstudio.configs.method_configs import all_methods
assert "resfields-tnerf" in all_methods
"""
    process = run(program)
    assert process.returncode == 0, process.stderr


def test_entry_points_add_no_heavy_package_to_what_nerfstudio_loads() -> None:
    program = f"""
import sys
import nerfstudio.plugins.registry, nerfstudio.plugins.registry_dataparser
from importlib.metadata import distribution
import nerfstudio.engine.trainer, nerfstudio.models.base_model, nerfstudio.data.datamanagers.base_datamanager
before = {{name.split(".")[0] for name in sys.modules}}
ours = distribution("nf-plugins").entry_points
for entry_point in ours:
    if entry_point.group.startswith("nerfstudio."):
        entry_point.load()
after = {{name.split(".")[0] for name in sys.modules}}
print("NEW", sorted((after - before) & set({OPTIONAL + HEAVY!r})))
"""
    process = run(program)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "NEW []"


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_optional_packages_are_imported_where_they_are_used(path: Path) -> None:
    assert [name for name in imports_at_import(path) if name.split(".")[0] in OPTIONAL] == []
    assert [name for name in imports_anywhere(path) if name.split(".")[0] in NEVER_IMPORTED] == []


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_go_downwards_only(path: Path) -> None:
    own = module_name(path)
    names = imports_anywhere(path)
    for room, forbidden in FORBIDDEN.items():
        if not within(own, room):
            continue
        for name in names:
            if within(name, room) or within(name, "nf_plugins.errors") or name == "nf_plugins":
                continue
            assert not any(within(name, other) for other in forbidden), f"{own} imports {name}"
    if not within(own, "nf_plugins.cli"):
        assert not any(within(name, "nf_plugins.cli") for name in names), f"{own} imports a command"


@pytest.mark.parametrize("path", sorted((ROOT / "nf_plugins/engine").glob("*.py")), ids=module_name)
def test_the_engine_asks_for_evaluation_only_when_it_evaluates(path: Path) -> None:
    assert not any(within(name, "nf_plugins.evaluation") for name in imports_at_import(path))


@pytest.mark.parametrize("path", [path for path in sources() if path.name == "__init__.py"], ids=module_name)
def test_packages_export_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [type(node).__name__ for node in tree.body] == ["Expr"]
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str) -> None:
    script = Path(sys.executable).with_name(command)
    process = subprocess.run([str(script), "--help"], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "usage" in process.stdout.lower()
    assert len(process.stdout.splitlines()) > 3


def test_help_of_ns_train_shows_our_methods_and_their_options() -> None:
    process = run("from nerfstudio.scripts.train import entrypoint; entrypoint()", "resfields-tnerf", "--help")
    assert process.returncode == 0, process.stderr
    for option in ("--resume", "--evaluate-after-training", "--keep-previous-checkpoint", "owlii-data"):
        assert option in process.stdout
