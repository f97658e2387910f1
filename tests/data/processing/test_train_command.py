from __future__ import annotations

import shlex
from pathlib import Path

from nf_plugins.data.processing.train_command import train_command


def test_words_survive_a_shell():
    command = train_command(Path("my data"), "owlii-data", ["--eval-cameras", "cam b"], with_masks=True)
    assert shlex.split(command) == [
        "ns-train", "resfields-tnerf", "--data", "my data", "owlii-data", "--eval-cameras", "cam b",
    ]  # fmt: skip


def test_without_masks_the_method_is_told_before_the_dataparser():
    words = shlex.split(train_command(Path("d"), "owlii-data", [], with_masks=False, options=("--x", "1")))
    assert words[words.index("--x") + 1] == "1"
    assert words[words.index("--pipeline.model.loss-coefficients.mask") + 1] == "0"
    assert words[words.index("--pipeline.datamanager.pixel-sampler.strategy") + 1] == "uniform"
    assert words[-1] == "owlii-data"
