"""The command `bpcore`."""

from __future__ import annotations

from .commands import main as main
