"""Options that need no value, under the settings that ns-train parses its command line with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import tyro

from nf_plugins.engine.flags import Flag


@dataclass
class Ball:
    radius: float = 1.0


@dataclass
class Box:
    side: float = 1.0


@dataclass
class Options:
    resume: Flag = False
    number: int = 3
    shape: Ball | Box = field(default_factory=Ball)


def parse(arguments: str) -> Any:
    methods = tyro.extras.subcommand_type_from_defaults({"method": Options(), "other": Options(number=4)})
    return tyro.cli(tyro.conf.FlagConversionOff[methods], args=arguments.split())  # type: ignore[valid-type]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("method", False),
        ("method --resume", True),
        ("method --resume True", True),
        ("method --resume False", False),
        ("method --resume --number 3", True),
        ("method --number 3 --resume shape:box --shape.side 2", True),
    ],
)
def test_flag_with_and_without_its_value(arguments: str, expected: bool) -> None:
    options = parse(arguments)
    assert options.resume is expected
    assert options.number == 3


def test_another_value_is_refused() -> None:
    with pytest.raises(SystemExit):
        parse("method --resume maybe")
