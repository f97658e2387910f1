"""Several runs side by side: one row per run and split, with what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nf_plugins.atomic_files import atomic_path, write_json
from nf_plugins.errors import InputError
from nf_plugins.evaluation.evaluate import METRICS

TABLE_SUFFIXES = (".md", ".json")
GEOMETRY_METRICS = ("chamfer_l1_sum", "chamfer_l2_mean", "normal_distance")
COMMON_KEYS = ("resolution", "downscale", "background", "mask_source", "seed", "machine", "versions", "metrics_note")
"""What goes below the table where it is the same for all runs."""
PROTOCOL_COLUMNS = {
    "method": "method",
    "experiment": "experiment",
    "split": "split",
    "num_images": "images",
    "step": "step",
}


@dataclass
class ComparisonTable:
    """A table of plain values, and what is the same for all its rows."""

    columns: list[str]
    """Headings; metrics under their names in the results."""
    rows: list[list[Any]]
    """None where a run has no such value."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """What is the same for all rows."""
    notes: list[str] = field(default_factory=list)
    """Sentences below the table."""

    def text(self) -> list[list[str]]:
        """The rows as text: a dash for None, five digits after the point for distances, four for other numbers."""
        digits = {name: 5 for name in GEOMETRY_METRICS} | {"training seconds": 1}
        return [
            [cell_text(value, digits.get(column, 4)) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers only."""
        values = [row[column] for row in self.rows if row[column] is not None]
        return bool(values) and all(isinstance(value, (int, float)) for value in values)

    def markdown(self, title: str, command: str) -> str:
        """The table, the notes, the command and the protocol."""
        aligned = ["---:" if self.is_number(index) else "---" for index in range(len(self.columns))]
        cells = [[text.replace("|", "\\|") for text in row] for row in self.text()]
        lines = [self.columns, aligned, *cells]
        parts = [f"# {title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        parts.append(f"```bash\n{command}\n```")
        if self.protocol:
            rows = [f"| {key} | {protocol_text(value)} |" for key, value in self.protocol.items()]
            parts.append("\n".join(["| protocol | value |", "| --- | --- |", *rows]))
        return "\n\n".join(parts) + "\n"


def comparison_table(results: Sequence[dict[str, Any]]) -> ComparisonTable:
    """A row for each result of :func:`~nf_plugins.evaluation.evaluate.evaluate_pipeline`, in their order.

    Metrics that no run has are left out; so are training seconds, parameters, what a method's own protocol measures,
    and surface distances.
    """
    metrics = [name for name in METRICS if any(result["mean"].get(name) is not None for result in results)]
    protocol_metrics = dict.fromkeys(name for result in results for name in result.get("protocol_results", {}))
    values: list[dict[str, Any]] = []
    for result in results:
        row = {heading: result["protocol"][key] for key, heading in PROTOCOL_COLUMNS.items()}
        row["parameters"] = result.get("num_parameters")
        row["training seconds"] = (result.get("training") or {}).get("seconds")
        row |= {name: result.get("protocol_results", {}).get(name) for name in protocol_metrics}
        row |= {name: result["mean"].get(name) for name in metrics}
        row |= {name: result.get("geometry", {}).get("mean", {}).get(name) for name in GEOMETRY_METRICS}
        values.append(row)
    always = (*PROTOCOL_COLUMNS.values(), *metrics)
    columns = [name for name in values[0] if name in always or any(row[name] is not None for row in values)]
    protocols = [result["protocol"] for result in results]
    common = {key: protocols[0][key] for key in COMMON_KEYS if key in protocols[0]}
    protocol = {key: value for key, value in common.items() if all(other.get(key) == value for other in protocols)}
    notes = list(dict.fromkeys(protocol["protocol_note"] for protocol in protocols if protocol.get("protocol_note")))
    units = {result["geometry"]["units"] for result in results if "geometry" in result}
    if units:
        notes.append(f"Surface distances in {' and '.join(sorted(units))} units; see geometry in the results.")
    return ComparisonTable(columns, [[row[name] for name in columns] for row in values], protocol, notes)


def check_table_path(path: Path) -> None:
    """Raise InputError unless the suffix is one that :func:`write_table` knows."""
    if path.suffix not in TABLE_SUFFIXES:
        raise InputError(f"--table {path}: unknown format {path.suffix or '(none)'}, expected .md or .json.")


def write_table(path: Path, table: ComparisonTable, title: str, command: str) -> None:
    """Write a table as Markdown, or as JSON of the form that ``scripts/update_readme.py`` reads; atomically."""
    check_table_path(path)
    if path.suffix == ".md":
        with atomic_path(path) as temporary:
            temporary.write_text(table.markdown(title, command), encoding="utf-8")
        return
    content = {
        "title": title,
        "command": command,
        "protocol": {key: protocol_text(value) for key, value in table.protocol.items()},
        "columns": table.columns,
        "rows": table.rows,
        "notes": table.notes,
    }
    write_json(path, content)


def cell_text(value: Any, digits: int) -> str:
    """A value as it stands in a cell."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def protocol_text(value: Any) -> str:
    """A value of the protocol in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
