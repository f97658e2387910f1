"""Writes the generated parts of the documentation: tables of results and tables of options.

    python scripts/update_readme.py [--check]

Every ``docs/results/NAME.json`` with the keys title, command, protocol, columns, rows and, optionally, notes becomes
the page ``docs/results/NAME.md`` and a table between the ``results`` markers of README.md. The tables between the
``options`` markers of the method pages come from the config classes that the markers name; their sources are read, not
imported.
"""

from __future__ import annotations

import ast
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from nf_plugins.atomic_files import atomic_path
from nf_plugins.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
REQUIRED_KEYS = ("title", "command", "protocol", "columns", "rows")
NOTHING_MEASURED = "Nothing is stored in [docs/results](docs/results) yet."
OPTIONS_MARKER = re.compile(r"<!-- options:begin (\S+) (\S+) (\S+) -->\n.*?<!-- options:end -->", re.DOTALL)
"""``<!-- options:begin FILE CLASS PREFIX -->``"""


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Results by file name without suffix, in alphabetical order; JSON files with other keys are passed over.

    Raises:
        InputError: A file is no JSON, or a row has another length than the list of columns.
    """
    results = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is no valid JSON ({error}): write it anew with its command.") from error
        if not isinstance(content, dict) or any(key not in content for key in REQUIRED_KEYS):
            continue
        for row in content["rows"]:
            if len(row) != len(content["columns"]):
                raise InputError(f"A row of {path} has {len(row)} cells, expected {len(content['columns'])}: {row}.")
        results[path.stem] = content
    return results


def cell_text(value: Any) -> str:
    """A value as it stands in a table: four significant digits, yes and no, a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell_text, value))
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; columns that hold only numbers are aligned to the right."""
    numeric = [
        bool(rows) and all(row[i] is None or (type(row[i]) in (int, float)) for row in rows)
        for i in range(len(columns))
    ]
    lines = [columns, ["---:" if right else "---" for right in numeric]]
    lines += [[cell_text(value) for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def results_page(result: dict[str, Any]) -> str:
    """The whole page of one result: table, notes, command and protocol."""
    parts = [f"# {result['title']}", table(result["columns"], result["rows"])]
    if result.get("notes"):
        parts.append("\n".join(f"- {note}" for note in result["notes"]))
    parts.append(f"Command:\n\n```bash\n{result['command']}\n```")
    if result["protocol"]:
        parts.append(table(["protocol", "value"], [list(entry) for entry in result["protocol"].items()]))
    return "\n\n".join(parts) + "\n"


def readme_section(results: dict[str, dict[str, Any]]) -> str:
    """What stands between the markers of README.md."""
    if not results:
        return NOTHING_MEASURED
    parts = []
    for name, result in results.items():
        parts.append(f"### {result['title']}")
        parts.append(table(result["columns"], result["rows"]))
        if result.get("notes"):
            parts.append("\n".join(f"- {note}" for note in result["notes"]))
        parts.append(f"Command and protocol: [docs/results/{name}.md](docs/results/{name}.md).")
    return "\n\n".join(parts)


def with_section(text: str, marker: str, section: str) -> str:
    """The text with what stands between ``<!-- marker:begin -->`` and ``<!-- marker:end -->`` replaced.

    Raises:
        InputError: The markers are not there.
    """
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    if begin not in text or end not in text:
        raise InputError(f"The markers {begin} and {end} are missing: put them back where the section belongs.")
    before, after = text.split(begin, maxsplit=1)[0], text.split(end, maxsplit=1)[1]
    return f"{before}{begin}\n{section}\n{end}{after}"


def config_options(path: Path, class_name: str) -> list[tuple[str, str, str]]:
    """Name, default and documentation of the fields that a config class itself declares; no nested configs."""
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    found = [node for node in classes if node.name == class_name]
    if not found:
        raise InputError(f"{path} has no class {class_name}, which a marker in the documentation names.")
    options = []
    for statement, following in zip(found[0].body, [*found[0].body[1:], None], strict=True):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
            continue
        name, default = statement.target.id, ast.unparse(statement.value)
        if name.startswith("_") or "default_factory" in default or not isinstance(following, ast.Expr):
            continue
        text = " ".join(str(ast.literal_eval(following.value)).split())
        immutable = re.fullmatch(r"to_immutable_dict\(\{(.*)\}\)", default)
        if immutable is None:
            options.append((name.replace("_", "-"), default.strip("'"), text))
            continue
        for key, value in ast.literal_eval("{" + immutable.group(1) + "}").items():
            options.append((f"{name.replace('_', '-')}.{key}", str(value), text))
    return options


def with_option_tables(text: str) -> str:
    """A page with every table between its ``options`` markers written anew."""

    def replace(match: re.Match[str]) -> str:
        file, class_name, prefix = match.groups()
        rows = [
            [f"`{prefix}{name}`", f"`{default}`", doc] for name, default, doc in config_options(ROOT / file, class_name)
        ]
        begin = f"<!-- options:begin {file} {class_name} {prefix} -->"
        return f"{begin}\n{table(['option', 'default', 'meaning'], rows)}\n<!-- options:end -->"

    return OPTIONS_MARKER.sub(replace, text)


def generated_files() -> dict[Path, str]:
    """Every file with generated parts and what it should hold."""
    results = read_results(ROOT / "docs" / "results")
    readme = ROOT / "README.md"
    files = {readme: with_section(readme.read_text(encoding="utf-8"), "results", readme_section(results))}
    for name, result in results.items():
        files[ROOT / "docs" / "results" / f"{name}.md"] = results_page(result)
    for page in sorted((ROOT / "docs" / "methods").glob("*.md")):
        files[page] = with_option_tables(page.read_text(encoding="utf-8"))
    return files


def out_of_date() -> list[Path]:
    """Files that differ from what they should hold."""
    return [
        path
        for path, text in generated_files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


@dataclass
class Options:
    """Write the generated parts of the documentation."""

    check: bool = False
    """Write nothing; end with exit status 1 when a file is out of date."""


def main(options: Options) -> int:
    """Write, or check; returns the exit status."""
    files = generated_files()
    stale = out_of_date()
    for path in stale:
        print(f"{'out of date' if options.check else 'written'}: {path.relative_to(ROOT)}")
        if not options.check:
            with atomic_path(path) as temporary:
                temporary.write_text(files[path], encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
