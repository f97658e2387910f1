"""Pickled NumPy data read without running what a pickle may ask for.

A pickle is a program: loading it calls whatever classes and functions it names. Here it can name NumPy's arrays, dtypes
and scalars and Python's plain containers, and nothing else. Not even NumPy's own unpickling is trusted, because its
``__setstate__`` takes a dtype's flags and an array's bytes as they come: dtypes are rebuilt from their names, and
arrays from checked shapes and bytes.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nf_plugins.errors import InputError

NUMPY_MAGIC = b"\x93NUMPY"
PLAIN_KINDS = "biufcmMSUO"
"""Kinds of dtype that are admitted: numbers, truth values, times, bytes, texts, objects. Structured and subarray types
are of kind V."""


def load_restricted(path: Path) -> Any:
    """The contents of a pickle, or of an .npy file with pickled objects, without running any code of it.

    An .npy file gives its array, with an object array of shape () replaced by the object in it. Arrays may be of a
    subclass of ndarray (``np.asarray`` takes that away).

    Raises:
        InputError: The file is missing, is neither, is truncated or damaged, or names a class that is not admitted.
    """
    try:
        with path.open("rb") as file:
            return _load(file, path)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"The file {path} does not exist, expected a pickle or NumPy file: check the path.") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}), expected a pickle or a NumPy file of arrays and "
            "plain containers: it is truncated or damaged; copy or write it anew."
        ) from error


def _load(file: Any, path: Path) -> Any:
    start = file.peek(len(NUMPY_MAGIC))[: len(NUMPY_MAGIC)]
    if start != NUMPY_MAGIC:
        return RestrictedUnpickler(file, path).load()
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if not dtype.hasobject:
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)
    array = RestrictedUnpickler(file, path).load()
    if not isinstance(array, np.ndarray) or array.shape != shape:
        raise ValueError(f"it announces an array of shape {shape} and holds another thing")
    return array.item() if shape == () else array


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows NumPy's arrays, dtypes and scalars, and Python's plain containers.

    Args:
        file: The pickle, opened in binary mode.
        path: What the error message calls it.
    """

    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        # Latin-1 is what NumPy asks for to read the bytes of Python 2.
        super().__init__(file, fix_imports=True, encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Raises:
            InputError: It is not admitted.
        """
        if (module, name) not in ADMITTED:
            self._refuse(f"{module}.{name}")
        return ADMITTED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        """Refuses references to objects outside the file."""
        self._refuse(f"the external object {pid!r}")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(
            f"{self.path} asks for {what}, and only NumPy arrays and plain containers (dict, list, str, numbers) are "
            "admitted, because a pickle can run any program: write the file anew with such contents alone, or do "
            "not use it if it comes from somebody you do not know."
        )


class DtypeRecipe:
    """A dtype as a pickle describes it, rebuilt from its name alone."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name
        self.byte_order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, subarray, field names, fields, item size, alignment, flags, ...)
        byte_order, subarray, names, fields = state[1:5]
        if subarray is not None or names is not None or fields is not None:
            raise ValueError("structured arrays are not admitted")
        self.byte_order = byte_order

    def dtype(self) -> np.dtype:
        """The dtype."""
        if not isinstance(self.name, str) or self.byte_order not in ("<", ">", "=", "|"):
            raise ValueError(f"no plain dtype: {self.name!r}, {self.byte_order!r}")
        dtype = np.dtype(self.name)
        # A name can spell them as well: "i4,f8", "(2,)i4".
        if dtype.kind not in PLAIN_KINDS or dtype.fields is not None or dtype.subdtype is not None:
            raise ValueError(f"structured arrays are not admitted, nor others of type {self.name!r}")
        return dtype if self.byte_order in "=|" else dtype.newbyteorder(self.byte_order)


class RestoredArray(np.ndarray):
    """An array whose pickled state is checked before NumPy sees it."""

    def __setstate__(self, state: Any) -> None:  # type: ignore[override]
        _, shape, recipe, is_fortran, data = state
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("latin-1")
        super().__setstate__((1, *_checked(shape, recipe, data), bool(is_fortran), data))  # type: ignore[misc]


def _checked(shape: Any, recipe: Any, data: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype, after a look at whether the data fill them."""
    if not isinstance(recipe, DtypeRecipe) or not isinstance(shape, tuple):
        raise ValueError("an array without a shape or a dtype")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    dtype, count = recipe.dtype(), math.prod(shape)
    if dtype.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise ValueError(f"an array of {count} objects that holds something else")
    elif not isinstance(data, (bytes, bytearray)) or len(data) != count * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} and type {dtype} whose bytes do not fill it")
    return shape, dtype


NDARRAY = object()
"""Stands for the class ndarray, which itself is not handed out: called by a pickle, it would view any memory."""


def _reconstruct(kind: Any, *_: Any) -> RestoredArray:
    if kind is not NDARRAY:
        raise ValueError("an array of another class")
    return np.empty(0, dtype=np.int8).view(RestoredArray)


def _from_buffer(data: Any, recipe: Any, shape: Any, order: Any = "C") -> np.ndarray:
    shape, dtype = _checked(tuple(shape), recipe, data)
    if dtype.hasobject:
        raise ValueError("objects in a buffer of bytes")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _scalar(recipe: Any, data: Any) -> Any:
    data = data.encode("latin-1") if isinstance(data, str) else data
    _, dtype = _checked((), recipe, data)
    if dtype.hasobject:
        raise ValueError("a scalar object")
    return np.frombuffer(data, dtype=dtype)[0]


def _encode(text: str, encoding: str = "latin1", *_: Any) -> bytes:
    """What Python's older pickles write for bytes."""
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise ValueError(f"text in the encoding {encoding!r}")
    return text.encode("latin-1")


class AdmittedCall:
    """What a pickle gets in place of a function or class of ours: it can be called, and nothing of it can be changed.

    A pickle may set the attributes of any object that it has hold of, of a function its defaults for instance.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} of a function cannot be set")

    def __setstate__(self, state: Any) -> NoReturn:
        raise ValueError("it changes the functions that read it")


def _admitted() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): NDARRAY,
        ("numpy", "dtype"): AdmittedCall(DtypeRecipe),
        ("_codecs", "encode"): AdmittedCall(_encode),
        ("collections", "OrderedDict"): collections.OrderedDict,
    }
    for core in ("numpy.core", "numpy._core"):
        found[f"{core}.multiarray", "_reconstruct"] = AdmittedCall(_reconstruct)
        found[f"{core}.multiarray", "scalar"] = AdmittedCall(_scalar)
        found[f"{core}.numeric", "_frombuffer"] = AdmittedCall(_from_buffer)
    for builtins in ("builtins", "__builtin__"):
        for kind in (dict, list, tuple, set, frozenset, complex, bytearray):
            found[builtins, kind.__name__] = kind
    return found


ADMITTED = _admitted()
"""What a pickle may name, and what it gets."""
