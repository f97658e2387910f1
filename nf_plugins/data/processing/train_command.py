"""The command that trains on what was written."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

METHOD = "resfields-tnerf"
WITHOUT_MASKS = (
    "--pipeline.model.loss-coefficients.mask",
    "0",
    "--pipeline.datamanager.pixel-sampler.strategy",
    "uniform",
)


def train_command(
    folder: Path, dataparser: str, arguments: Sequence[str], with_masks: bool, options: Sequence[str] = ()
) -> str:
    """An ns-train command that works as it stands.

    Args:
        folder: Value of ``--data``.
        dataparser: Its name on the command line.
        arguments: Of the dataparser.
        with_masks: Whether the data has foreground masks; without, the method must be told to do without.
        options: Further ones of the method.
    """
    options = (*options, *(() if with_masks else WITHOUT_MASKS))
    return shlex.join(["ns-train", METHOD, "--data", str(folder), *options, dataparser, *arguments])
