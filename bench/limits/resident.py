"""What of this process is in memory, by Linux's /proc."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path


def status(name: str) -> int:
    """Bytes: VmRSS (now) and its parts RssAnon and RssFile; VmHWM (the most since reset_peak)."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{name}:\s*(\d+) kB", text).group(1))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def trim() -> None:
    """Garbage collected, and what the C allocator holds free given back."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)
