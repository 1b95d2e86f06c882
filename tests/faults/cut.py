"""Ctrl-C at a chosen moment: a tracer that interrupts a function, or what it calls, at its n-th point.

CPython looks for signals as a function begins, after a call of one that is written in C, and as a loop goes
round. The tracer raises there, wherever code of pgdual runs.
"""

from __future__ import annotations

import dis
import sys
from types import FrameType
from typing import Any

__all__ = ["Cut"]

_LOOKS = ("CALL", "JUMP_BACKWARD")


class Cut:
    """Interrupts at the *nth* point from where a function called *name* begins; `is_done` tells that it has.

    Use it with `with`, around the call.
    """

    def __init__(self, name: str, nth: int) -> None:
        self.is_done = False
        self._name = name
        self._left = nth
        self._root: FrameType | None = None
        self._last: dict[FrameType, int] = {}  # the offset of the instruction before
        self._is_back = False  # from a function of Python's own

    def __enter__(self) -> Cut:
        sys.settrace(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _begin(self, frame: FrameType, _event: str, _: Any) -> Any:
        code = frame.f_code
        if "/pgdual/" not in code.co_filename:
            return None
        if self._root is None:
            if code.co_qualname != self._name:
                return None
            self._root = frame
        frame.f_trace_opcodes = True
        self._point()
        return self._go_on

    def _go_on(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            if self._has_looked(frame) and not self._is_back:
                self._point()
            self._is_back = False
        elif event == "return":
            self._is_back = True
            if frame is self._root:
                sys.settrace(None)
        return self._go_on

    def _has_looked(self, frame: FrameType) -> bool:
        code, at = frame.f_code.co_code, frame.f_lasti
        before, self._last[frame] = self._last.get(frame, -1), at
        following = before + 2
        while before >= 0 and following < at and dis.opname[code[following]] == "CACHE":
            following += 2
        name = dis.opname[code[before]] if before >= 0 else ""
        return name.startswith("JUMP_BACKWARD") or (name.startswith("CALL") and following == at)

    def _point(self) -> None:
        self._left -= 1
        if not self._left:
            self.is_done = True
            sys.settrace(None)
            raise KeyboardInterrupt
