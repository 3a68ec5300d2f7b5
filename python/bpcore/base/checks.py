"""Checks of scalar arguments, names and shapes: one place, one wording for all of the package.

Arrays are checked in `data`. Every check returns the value in its canonical Python type.
"""

from __future__ import annotations

import difflib
import math
import operator
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from .memory import Shape

MAX_SIZE = 2**31 - 1  # of one axis: BLAS-like interfaces and file formats count axes in int32
MAX_ELEMENTS = 2**40  # of one array: 4 TiB of float32; beyond it is a typing error
MAX_RANK = 8  # of a weight: axes that files hold
MAX_NAME = 255  # bytes of UTF-8 of a weight's name, layer and slash included
_LISTED = 2000  # files of a folder that a misspelt name is compared with


def describe(value: Any) -> str:
    """``type value`` for messages, cut to a readable length."""
    if isinstance(value, np.ndarray):
        return f"ndarray of dtype {value.dtype} and shape {value.shape}"
    shape = getattr(value, "shape", None)
    own = type(value).__module__.startswith(__package__.partition(".")[0])
    if isinstance(shape, tuple) and not own:  # a frame or another library's array: not its content
        return f"{type(value).__name__} of shape {shape}"
    text = repr(value)
    if len(text) > 80:
        text = text[:77] + "..."
    return text if value is None else f"{type(value).__name__} {text}"


def suggest(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` or nothing."""
    near = difflib.get_close_matches(str(name).lower()[:100], list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(what: str, name: Any, known: Iterable[str]) -> ValueError:
    """The error for a name that nothing has."""
    names = sorted(known)
    return ValueError(
        f"unknown {what} {str(name)[:80]!r}{suggest(name, names)}; known: {', '.join(names)}"
    )


def integer(name: str, value: Any, low: int = 1, high: int = MAX_SIZE) -> int:
    """An int in [low, high]; NumPy integers count, bool and float do not."""
    if type(value) is int and low <= value <= high:
        return value
    if isinstance(value, (bool, np.bool_, np.ndarray)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {describe(value)}")
    number = operator.index(value)
    if number < low:
        raise ValueError(f"{name} must be >= {low}, got {number}")
    if number > high:
        raise ValueError(f"{name} must be <= {high}, got {number}")
    return number


def real(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """A finite number in the interval, as float."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a finite number, got {describe(value)}")
    if isinstance(value, (complex, np.complexfloating)):
        raise TypeError(f"{name} must be a real number, got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    inside = math.isfinite(number) and low <= number <= high
    inside = inside and not (open_low and number == low) and not (open_high and number == high)
    if inside:
        return number
    if low == -math.inf and high == math.inf:
        wanted = "a finite number"
    elif high == math.inf:
        wanted = f"a finite number {'>' if open_low else '>='} {low:g}"
    else:
        wanted = f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    raise ValueError(f"{name} must be {wanted}, got {value!r}")


def boolean(name: str, value: Any) -> bool:
    """True or False, nothing that merely behaves like it."""
    if value is True or value is False:
        return bool(value)
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {describe(value)}")
    return bool(value)


def choice(name: str, value: Any, known: Sequence[str]) -> str:
    """One of some words."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(known)}, got {describe(value)}")
    if value not in known:
        raise ValueError(
            f"{name} must be one of {', '.join(known)}, got {value!r}{suggest(value, known)}"
        )
    return value


def dtype(value: Any) -> str:
    """``"float32"`` or ``"float64"``."""
    if isinstance(value, str) and value in ("float32", "float64"):
        return value
    if value in (np.float32, np.float64) or isinstance(value, np.dtype):
        name = np.dtype(value).name
        if name in ("float32", "float64") and np.dtype(value).isnative:
            result: str = name
            return result
    raise ValueError(f"dtype must be 'float32' or 'float64', got {value!r}")


def compute(value: Any, dtype: str) -> str:
    """What operands of matrix products are rounded to: `dtype` itself (None), or ``"bfloat16"``."""
    if value is None or (isinstance(value, str) and value == dtype):
        return dtype
    if not isinstance(value, str) or value != "bfloat16":
        raise ValueError(f"compute must be None, {dtype!r} or 'bfloat16', got {value!r}")
    if dtype != "float32":
        raise ValueError(f"compute='bfloat16' needs dtype='float32', got dtype={dtype!r}")
    return value


def seed(value: Any) -> int | None:
    """An int in [0, 2^64), or None; a NumPy Generator gives its next number."""
    if value is None:
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        if isinstance(value, np.random.Generator):  # here, since the first look at it imports much
            return int(value.integers(0, 2**63))
        raise TypeError(f"seed must be an int in [0, 2^64), got {describe(value)}")
    if not 0 <= int(value) < 2**64:
        raise ValueError(f"seed must be an int in [0, 2^64), got {value}")
    return int(value)


def object_name(what: str, value: Any) -> str | None:
    """A name of a layer or model: it becomes part of parameter names and of keys in files."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{what} name must be a str, got {describe(value)}")
    if not value or len(value) > 200 or "/" in value or not value.isprintable():
        raise ValueError(
            f"{what} name must be 1 to 200 printable characters without '/', got "
            f"{value[:40]!r} of length {len(value)}"
        )
    return value


def name_flaw(name: str, limit: int = MAX_NAME) -> str:
    """What keeps a weight's name out of files, or nothing."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= limit:
        return f"has {size} bytes, expected 1 to {limit}"
    if not name.isprintable():
        return "holds a control or invisible character"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "has an empty, '.' or '..' part"
    return ""


def shape(name: str, value: Any, *, steps: bool = False) -> Shape:
    """A per-sample shape: positive ints, no batch axis; with `steps` the first may be None."""
    forms = "expected the shape of one sample without the batch axis, like (784,) or (28, 28, 1)"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        value = (value,)
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name} must be a tuple of ints, got {describe(value)}; {forms}")
    sizes = list(value)
    if not sizes:
        raise ValueError(f"{name} must have at least one axis, got {value!r}; {forms}")
    open_length = steps and sizes[0] is None
    if None in sizes[1 if open_length else 0 :]:
        known = tuple(size for size in sizes if size is not None)
        batch = f"; leave None out if it stands for the batch: {known}" if sizes[0] is None else ""
        which = "every axis of a sample but its first, the steps," if steps else "every axis"
        raise ValueError(
            f"{name} has None for axis {len(sizes) - 1 - sizes[::-1].index(None)}, got {value!r}: "
            f"the length of {which} must be known{batch if known else ''}; {forms}"
        )
    result: list[Any] = [None] if open_length else []
    for size in sizes[len(result) :]:
        try:
            result.append(integer(name, size))
        except ValueError as error:
            raise ValueError(f"{error} in {value!r}; {forms}") from None
        except TypeError as error:
            raise TypeError(f"{error} in {value!r}; {forms}") from None
    elements(name, [size or 1 for size in result])
    return tuple(result)


def elements(name: str, sizes: Sequence[int], itemsize: int = 4) -> int:
    """The number of elements of a shape; an error before anything so large is allocated.

    A size of 0 counts as 1: what takes no memory is to be described in files all the same.
    """
    count = math.prod(size or 1 for size in sizes)
    if count > MAX_ELEMENTS:
        gib = count * itemsize / 2**30
        raise ValueError(
            f"{name}: shape {tuple(sizes)} needs {count} elements ({gib:.3g} GiB); "
            f"the limit is {MAX_ELEMENTS} elements"
        )
    return count


def weight_shape(name: str, value: Any, itemsize: int) -> Shape:
    """The shape of a weight, one that files hold; sizes may be 0."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if any(n is None for n in given):
        raise ShapeError(
            f"{name}: a size depends on an axis of the input that is None, got shape {given}; only "
            "the number of steps may be open, and no weight may depend on it"
        )
    sizes = tuple(integer(f"{name}: size", n, 0) for n in given)
    if len(sizes) > MAX_RANK:
        raise ValueError(
            f"{name}: shape {sizes} has {len(sizes)} axes, expected at most {MAX_RANK}, because "
            "files hold no more; reshape the value where it is used"
        )
    elements(name, sizes, itemsize)
    return sizes


def path(value: Any, name: str = "path") -> str:
    """The path of a file or folder that a user gave, as str; ``~`` is the user's home folder."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or PathLike, got {describe(value)}")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError(f"{name} must be text, got {type(text).__name__}")
    if not text or "\0" in text:
        raise ValueError(f"{name} must be a non-empty string without NUL, got {text!r}")
    return os.path.expanduser(text)


def no_such_file(name: str) -> str:
    """Why there is no file of this path, for messages, and which one beside it may be meant."""
    folder, file = os.path.split(name)
    if not os.path.isdir(folder or "."):
        return f"there is no folder {folder!r}"
    try:
        files = sorted(os.listdir(folder or "."))
    except OSError:  # a folder that may not be read
        files = []
    whole = next((other for other in files if os.path.splitext(other)[0] == file), None)
    if whole is not None:
        return f"there is no such file; did you mean {whole!r}?"
    near = suggest(file, files) if len(files) <= _LISTED else ""
    return f"there is no such file{near}"


def broadcast(where: str, shapes: Sequence[Shape]) -> Shape:
    """The common shape of per-sample shapes under NumPy's rules."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        listed = ", ".join(str(s) for s in shapes)
        raise ShapeError(
            f"{where}: got inputs of shapes {listed}, expected shapes that broadcast to one "
            "another (equal sizes or 1 on each axis, from the last); reshape an input"
        ) from None
