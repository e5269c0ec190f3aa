"""Where a core is shared, whoever answers goes before whoever computes.

Linux from 6.12 on lets a thread ask for a short time slice; when it wakes it then takes the core at
once from a thread whose slice is longer, and its share of the core stays the same. Elsewhere the
request is ignored: nothing may depend on it.
"""

import ctypes
import os
import platform
import struct
from typing import Final

SLICE_NANOSECONDS: Final = 100_000
"""The shortest that Linux grants; 2 to 3 ms is usual."""

_CALL: Final = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQII")
"""`struct sched_attr`: size, policy, flags, nice, priority, runtime, deadline, period, two bounds of use."""


def ask_for_short_slices() -> bool:
    """Ask for the calling thread; whether the kernel took the request."""
    number = _CALL.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SLICE_NANOSECONDS, 0, 0, 0, 0)
    taken: int = ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0)
    return taken == 0
