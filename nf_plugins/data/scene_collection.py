"""Further scenes for methods that learn from several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig, DataparserOutputs
from nerfstudio.utils.rich_utils import CONSOLE

from nf_plugins.data.dynamic_dataset import DynamicDataset
from nf_plugins.errors import InputError


def extra_scene_datasets(
    dataparser: DataParserConfig,
    folders: Sequence[Path],
    make_dataset: Callable[[DataparserOutputs], DynamicDataset],
) -> list[DynamicDataset]:
    """Training images of other scenes, read as the first one is.

    Args:
        dataparser: Of the first scene; only its ``data`` is another one.
        folders: Where the others are.
        make_dataset: Of what the dataparser says.

    Raises:
        InputError: A scene is given twice.
    """
    seen = {Path(dataparser.data).resolve()}
    datasets = []
    for folder in folders:
        if folder.resolve() in seen:
            raise InputError(
                f"--pipeline.datamanager.extra-scenes has {folder}, which is trained on already: name every scene once."
            )
        seen.add(folder.resolve())
        outputs = dataclasses.replace(dataparser, data=folder).setup().get_dataparser_outputs(split="train")
        datasets.append(make_dataset(outputs))
        CONSOLE.print(f"Also training on {folder}: {len(datasets[-1])} images.")
    return datasets
