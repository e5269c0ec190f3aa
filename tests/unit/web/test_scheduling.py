"""Short slices, where the kernel has them."""

import os
import platform
from pathlib import Path

from twelvefold.web.scheduling import SLICE_NANOSECONDS, ask_for_short_slices


def test_the_thread_keeps_its_policy_and_priority_and_gets_a_short_slice():
    before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    taken = ask_for_short_slices()
    assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == before
    release = tuple(int(part) for part in platform.release().split(".")[:2])
    told = Path("/proc/thread-self/sched")
    if taken and release >= (6, 12) and told.exists():
        slices = [line.rpartition(":")[2] for line in told.read_text().splitlines() if "se.slice" in line]
        assert [int(each) for each in slices] in ([SLICE_NANOSECONDS], [])
