"""The one exception that users of this package are meant to read."""

from __future__ import annotations


class InputError(ValueError, SystemExit):
    """A wrong file, folder, option or checkpoint.

    The message is one sentence or two: the file or option, what was found, what was expected, and the way out. Caught
    like any ``ValueError``; uncaught it ends a command with exit status 1 and prints the message alone, without a
    traceback (that is what being a ``SystemExit`` does).
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message

    def __str__(self) -> str:
        return str(self.code)
