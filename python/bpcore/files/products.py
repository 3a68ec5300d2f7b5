"""What a checkpoint says of a model's products in bfloat16: which are rounded, and how.

Another instruction of the CPU adds their terms in another order, and another choice rounds other
operands, so a run goes on with neither. Only models with ``compute="bfloat16"`` write the entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _core
from ..base import kinds
from ..errors import CheckpointError, CheckpointWarning, FormatError, warn
from .container import shown

ENTRY = "bfloat16"
_BEFORE = "avx512_bf16"  # of files without the entry: by it all products were rounded
_INSTRUCTIONS = ("", "avx512_bf16", "amx_bf16")
_KIND = kinds.Record(
    {
        "instruction": kinds.Judged(_INSTRUCTIONS.index, f"one of {_INSTRUCTIONS}"),
        "operations": kinds.Items(kinds.Text()),
    }
)


def present(model: Any) -> dict[str, Any]:
    """The entry of a built and compiled model in this process; empty if it has none."""
    if model.compute == model.dtype:
        return {}
    rounded: dict[str, str] = model.rounded_products()
    instruction = max(rounded.values(), default="")
    return {ENTRY: {"instruction": instruction, "operations": sorted(rounded)}}


def compare(model: Any, state: Mapping[str, Any], file: str) -> None:
    """CheckpointError for a state whose products this process does not make; nothing is changed."""
    here = present(model)
    if not here:
        return
    if ENTRY not in state:
        _compare_earlier(here[ENTRY], file)
        return
    held = state[ENTRY]
    try:
        _KIND.check(held, f"state.{ENTRY}")
    except ValueError as error:
        raise FormatError(f"{file}: {error}") from error
    if held != here[ENTRY]:
        raise _other_products(held["instruction"], _in_words(held), here[ENTRY], file)


def _compare_earlier(here: dict[str, Any], file: str) -> None:
    if _core.config()["bfloat16"] != _BEFORE:
        raise _other_products(_BEFORE, f"all by {_BEFORE}", here, file)
    warn(
        f"{file}: was written when compute='bfloat16' rounded all products, here it rounds "
        f"{_in_words(here)}; the training goes on, but bit-exact continuation is not guaranteed",
        CheckpointWarning,
    )


def _other_products(by: str, held: str, here: dict[str, Any], file: str) -> CheckpointError:
    now = _core.config()["bfloat16"] or "none"
    if (by or "none") == now:
        way = "go on with the version of bpcore that wrote the file"
    else:
        way = f"set BPCORE_BFLOAT16={by or 'none'} before bpcore is imported"
        way += ", if this CPU has it, or go on on a CPU that has it" if by else ""
    return CheckpointError(
        f"{file}: is of a run whose products in bfloat16 are {held}, here they would be "
        f"{_in_words(here)} (this process has {now}), and other bits; {way}; or begin a new run "
        "with the file's weights and optimizer: bpcore.load_checkpoint(path, compute='float32'), "
        "or compute='bfloat16' for what this process has"
    )


def _in_words(entry: dict[str, Any]) -> str:
    names = entry["operations"]
    if not names:
        return "none"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"those of {', '.join(map(shown, names[:5]))}{more} by {shown(entry['instruction'])}"
