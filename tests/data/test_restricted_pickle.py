from __future__ import annotations

import collections
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nf_plugins.data import restricted_pickle
from nf_plugins.data.restricted_pickle import load_restricted
from nf_plugins.errors import InputError

CONTENTS = {
    "cams": {"K": [np.arange(9.0).reshape(3, 3), np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))]},
    "ims": [{"ims": ["a/0.jpg", "b/0.jpg"], "kpts2d": np.zeros((2, 25, 3), dtype=np.float32)}],
    "names": np.array(["x", "yy"]),
    "jagged": np.array([[1, 2], "three", None], dtype=object),
    "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), 2 + 3j, b"bytes", {1, 2}, (1, None, 2.5)],
    "ordered": collections.OrderedDict(a=1),
}


def assert_same(first: Any, second: Any) -> None:
    if isinstance(second, np.ndarray):
        assert isinstance(first, np.ndarray)
        # Some protocols turn foreign byte orders into the own one.
        assert first.dtype.newbyteorder("=") == second.dtype.newbyteorder("=") and first.shape == second.shape
        for a, b in zip(first.flat, second.flat, strict=True):
            assert a == b
    elif isinstance(second, dict):
        assert list(first) == list(second)
        for key in second:
            assert_same(first[key], second[key])
    elif isinstance(second, list):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    else:
        assert first == second and type(first) is type(second)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_the_contents_back(tmp_path: Path, protocol: int):
    path = tmp_path / "contents.pkl"
    path.write_bytes(pickle.dumps(CONTENTS, protocol=protocol))
    assert_same(load_restricted(path), CONTENTS)


def test_npy_files(tmp_path: Path):
    np.save(tmp_path / "annots.npy", np.array(CONTENTS, dtype=object), allow_pickle=True)
    assert_same(load_restricted(tmp_path / "annots.npy"), CONTENTS)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    assert load_restricted(tmp_path / "objects.npy").tolist() == [{"a": 1}, None]
    np.save(tmp_path / "numbers.npy", np.arange(4.0))
    assert_same(load_restricted(tmp_path / "numbers.npy"), np.arange(4.0))


def test_pickles_of_older_numpy_are_read(tmp_path: Path):
    """NumPy 1 calls the same functions by other module names."""
    contents = pickle.dumps({"K": np.eye(3), "n": np.float64(2)}, protocol=2)
    older = contents.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert older != contents
    (tmp_path / "older.pkl").write_bytes(older)
    assert_same(load_restricted(tmp_path / "older.pkl"), {"K": np.eye(3), "n": np.float64(2)})


class Malicious:
    """Runs a command when a stock unpickler loads it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({str(self.target)!r}, 'w').close()",)


@pytest.mark.parametrize("nested", [False, True])
def test_malicious_pickle_is_refused_before_it_runs(tmp_path: Path, nested: bool):
    proof = tmp_path / "proof"
    content: Any = {"cams": {}, "ims": [Malicious(proof)]}
    if nested:
        content = np.array([content, Malicious(proof)], dtype=object)
    np.save(tmp_path / "annots.npy", np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"annots\.npy asks for builtins\.exec"):
        load_restricted(tmp_path / "annots.npy")
    assert not proof.exists()
    np.load(tmp_path / "annots.npy", allow_pickle=True)
    assert proof.exists(), "the same file does its work when NumPy loads it"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"),
        ("numpy.testing._private.utils", "runstring"), ("pathlib", "PosixPath"), ("numpy", "matrix"),
        ("numpy", "ndarray.tofile"), ("builtins", "dict.__class__"), ("collections", "defaultdict"),
    ],
)  # fmt: skip
def test_other_names_are_refused(tmp_path: Path, module: str, name: str):
    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value)]) + value.encode()

    # Protocol 4: push module and name, look them up, stop.
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + text(module) + text(name) + b"\x93.")
    with pytest.raises(InputError, match=rf"a\.pkl asks for {module}\.{name}"):
        load_restricted(tmp_path / "a.pkl")


def test_external_objects_are_refused(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(b"Poutside\n.")
    with pytest.raises(InputError, match="external object"):
        load_restricted(tmp_path / "a.pkl")


def test_array_of_objects_cannot_be_made_of_bytes(tmp_path: Path):
    """An address in the bytes of an object array would be dereferenced: NumPy takes the dtype's flags as they come."""

    class Forged:
        def __init__(self, *state: Any) -> None:
            self.state = state

        def __reduce__(self) -> Any:
            return self.state

    dtype = Forged(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))
    address = struct.pack("<Q", 0xDEADBEEF)
    reconstruct = np.array(0).__reduce__()[0]
    array = Forged(reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), dtype, False, address))
    (tmp_path / "forged.pkl").write_bytes(pickle.dumps(array))
    with pytest.raises(InputError, match="forged.pkl cannot be read.*objects"):
        load_restricted(tmp_path / "forged.pkl")
    too_short = Forged(reconstruct, (np.ndarray, (0,), b"b"), (1, (9, 9), np.dtype("f8"), False, b"12345678"))
    (tmp_path / "short.pkl").write_bytes(pickle.dumps(too_short))
    with pytest.raises(InputError, match=r"short.pkl cannot be read.*do not fill"):
        load_restricted(tmp_path / "short.pkl")


def test_class_of_arrays_cannot_be_called(tmp_path: Path):
    text = b"\x8c\x05numpy\x8c\x07ndarray\x93"
    # Called with the tuple (4,); made anew with it.
    for instruction in (b"R", b"\x81"):
        (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + text + b"K\x04\x85" + instruction + b".")
        with pytest.raises(InputError, match="cannot be read"):
            load_restricted(tmp_path / "a.pkl")


def test_structured_arrays_are_refused(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.zeros(2, dtype=[("x", "f4"), ("y", "O")])))
    with pytest.raises(InputError, match="structured"):
        load_restricted(tmp_path / "a.pkl")


@pytest.mark.parametrize("name", ["i4,f8", "(2,)i4", "i4,O", "V8", "T"])
def test_structured_arrays_are_refused_by_name_as_well(tmp_path: Path, name: str):
    class Forged:
        def __init__(self, *state: Any) -> None:
            self.state = state

        def __reduce__(self) -> Any:
            return self.state

    dtype = Forged(np.dtype, (name, False, True), (3, "|", None, None, None, -1, -1, 0))
    reconstruct = np.array(0).__reduce__()[0]
    content: Any = [None] if name == "T" else bytes(np.dtype(name).itemsize)
    array = Forged(reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), dtype, False, content))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(array))
    with pytest.raises(InputError, match=r"a\.pkl cannot be read.*structured"):
        load_restricted(tmp_path / "a.pkl")


@pytest.mark.parametrize(("module", "name"), restricted_pickle.ADMITTED)
def test_what_a_pickle_names_cannot_be_changed_by_it(tmp_path: Path, module: str, name: str):
    """A state in a pickle sets attributes: of a function, for instance, its documentation or its defaults."""

    def attributes() -> Any:
        kept = restricted_pickle.ADMITTED[module, name]
        function = getattr(kept, "_function", kept)
        return kept, function, function.__doc__, getattr(function, "__defaults__", None), dir(function)

    before = attributes()
    named = b"\x80\x02c" + f"{module}\n{name}\n".encode()
    for key, value in (("__doc__", "changed"), ("__defaults__", (1, 2, 3)), ("_function", "changed"), ("new", 1)):
        for state in ((None, {key: value}), {key: value}):
            # The pickle of the state without its protocol and its end, then "b": set the state.
            path = tmp_path / "a.pkl"
            path.write_bytes(named + pickle.dumps(state, protocol=2)[2:-1] + b"b.")
            with pytest.raises(InputError, match=r"a\.pkl cannot be read"):
                load_restricted(path)
            assert attributes() == before


@pytest.mark.parametrize("kept", [0, 3, 40, 150, -1])
def test_truncated_files_get_their_sentence(tmp_path: Path, kept: int):
    path = tmp_path / "annots.npy"
    np.save(path, np.array(CONTENTS, dtype=object), allow_pickle=True)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"annots\.npy cannot be read"):
        load_restricted(path)


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        load_restricted(tmp_path / "annots.npy")
