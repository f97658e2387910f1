"""What was computed of source images, kept while it is likely to be asked for again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Knows its size in memory."""

    @property
    def num_bytes(self) -> int:
        """Bytes."""
        ...


Value = TypeVar("Value", bound=Sized)


class FeatureCache(Generic[Value]):
    """Values by key within a budget of memory; those not asked for the longest go first.

    Args:
        max_bytes: The budget. The newest value is kept even if it alone is larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not there."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        while len(self._values) > 1 and sum(kept.num_bytes for kept in self._values.values()) > self.max_bytes:
            self._values.popitem(last=False)
        return value

    def clear(self) -> None:
        """Forgets everything."""
        self._values.clear()
