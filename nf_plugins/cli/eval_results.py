"""What the commands that evaluate runs share: where results lie, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def run_folder(load_config: Path) -> Path:
    """The folder of a run, given its config.yml or the folder itself."""
    return load_config if load_config.is_dir() else load_config.parent


def evaluation_folder(load_config: Path) -> Path:
    """``evaluation`` in the folder of a run, given its config.yml or the folder itself."""
    return run_folder(load_config) / "evaluation"


def write_result(
    load_config: Path,
    results: dict[str, dict[str, Any]],
    *,
    default_name: str,
    output_path: Path | None,
    num_runs: int,
) -> None:
    """Write the result of a run as soon as it is there, and print where it lies.

    Args:
        load_config: Of the run.
        results: Those of all runs that were measured by now, by their ``config.yml``.
        default_name: Name of the file in the run's evaluation folder, for want of an output path.
        output_path: Gets the result itself, or with several runs all that are there by now, below ``runs``.
        num_runs: How many there will be.
    """
    from nerfstudio.utils.rich_utils import CONSOLE

    from nf_plugins.atomic_files import write_json

    result = results[str(load_config)]
    path = evaluation_folder(load_config) / default_name if output_path is None else output_path
    write_json(path, result if output_path is None or num_runs == 1 else {"runs": results})
    CONSOLE.print(f"Results: {path}", soft_wrap=True)


def print_columns(title: str, columns: Sequence[dict[str, str]]) -> None:
    """Print the numbers of several runs by what they are called: a column for each run, a row for each number."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.table import Table

    table = Table(title=title, show_header=False)
    table.add_column()
    for _ in columns:
        table.add_column(justify="right", overflow="fold")
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(column.get(name, "-") for column in columns))
    CONSOLE.print(table)
