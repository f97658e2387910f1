"""A boolean option that may be given without its value.

nerfstudio asks for ``--option True`` everywhere. An option declared as :data:`Flag` takes ``--option`` alone as well.
"""

from __future__ import annotations

from typing import Annotated

import tyro

_WORDS = {"True": True, "true": True, "False": False, "false": False}


def _flag_from_words(words: list[str]) -> bool:
    if not words:
        return True
    if len(words) > 1 or words[0] not in _WORDS:
        raise ValueError(f"expected True or False or nothing, found {' '.join(words)}")
    return _WORDS[words[0]]


Flag = Annotated[
    bool,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[True|False]",
        instance_from_str=_flag_from_words,
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    ),
]
