"""Ctrl-C at every bytecode: KeyboardInterrupt raised by a trace function before the k-th one.

Signals can come at fewer places, which depend on the version of Python; this is the worst of all.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bpcore

PACKAGE = str(Path(bpcore.__file__).parent)
HELPERS = ("contextlib.py", "threading.py")  # of Python's own, what package code may be inside of


class Interrupted:
    """Runs functions and raises before the `at`-th bytecode (None: never); `count`: bytecodes."""

    def __init__(self, at=None):
        self.at, self.count = at, 0

    def __call__(self, function, *args, **options):
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            return function(*args, **options)
        finally:
            sys.settrace(before)

    def _call(self, frame, event, argument):
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE) and not name.endswith(HELPERS):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._step

    def _step(self, frame, event, argument):
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self._step
