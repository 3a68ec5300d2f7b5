"""The way of an array through bpcore's Python files: who calls whom with it as an argument."""

from __future__ import annotations

import pathlib
import sys

import numpy as np

import bpcore as bp

FOLDER = pathlib.Path(bp.__file__).parent


class Passage:
    """Entered with ``with``; knows of each file how often `value` came into it.

    What shares memory with it counts as it does, in lists, dicts and bpcore's own containers too.
    Calls one after another of one file by another are one visit, whatever they call in turn.

    Parameters
    ----------
    value : ndarray
    end : str
        The core's function that the way ends at.
    """

    def __init__(self, value, end="set_data"):
        self.value, self.end = value, end
        self.arrived = False
        self.visits = {}  # by file
        self._last = {}  # by call of a file by another one: whom it called last

    @property
    def returns(self):
        """How often it came to a file where it had been."""
        return sum(count - 1 for count in self.visits.values())

    def __enter__(self):
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _see(self, frame, event, argument):
        if event == "c_call" and getattr(argument, "__name__", "") == self.end:
            self.arrived = True
            sys.setprofile(None)
        if event != "call" or not (name := _file(frame)):
            return
        sys.setprofile(None)
        try:
            self._note(name, frame)
        finally:
            sys.setprofile(self._see)

    def _note(self, name, frame):
        code = frame.f_code
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        values = [frame.f_locals[key] for key in given if key in frame.f_locals and key != "self"]
        caller, first = frame.f_back, None
        while caller is not None and not _file(caller):
            caller = caller.f_back
        if (caller is not None and _file(caller) == name) or not any(map(self._holds, values)):
            return
        while caller is not None:  # the outermost of its file in a row stands for all
            if first is not None and _file(caller) != _file(first):
                break
            first, caller = caller, caller.f_back
        if self._last.get(first) != name:
            self.visits[name] = self.visits.get(name, 0) + 1
        self._last[first] = name

    def _holds(self, value, depth=0):
        if isinstance(value, np.ndarray):
            return value.size > 0 and np.shares_memory(value, self.value)
        if depth == 4:
            return False
        if isinstance(value, dict):
            value = list(value.values())
        elif not isinstance(value, (list, tuple)):
            if not type(value).__module__.startswith("bpcore.data"):
                return False
            slots = [key for cls in type(value).__mro__ for key in getattr(cls, "__slots__", ())]
            value = [getattr(value, key, None) for key in (*slots, *getattr(value, "__dict__", {}))]
        return any(self._holds(item, depth + 1) for item in value)


def _file(frame):
    """The path of a frame's file in the package, "" elsewhere."""
    path = pathlib.PurePath(frame.f_code.co_filename)
    return path.relative_to(FOLDER).as_posix() if path.is_relative_to(FOLDER) else ""
