"""Becomes a server process: `python -I -S launch.py PARENT SIGNAL UID GID CAPABILITY LOCK WAIT -- program …`.

Runs between fork and the real program, as its own small interpreter (16 ms), because code between
fork and exec in a threaded parent may deadlock. It takes the server's lock, drops root, asks to be
signalled when the parent dies, and replaces itself. Invariant: the lock is inherited by the program
and everything it forks, so as long as one process of an earlier start lives, no second one begins.
"""

import ctypes
import fcntl
import os
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522

EXIT_LOCKED = 75
EXIT_NO_PRIVILEGE = 77
EXIT_PARENT_GONE = 78


class CapabilityHeader(ctypes.Structure):
    """`struct __user_cap_header_struct` of capset(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilitySets(ctypes.Structure):
    """`struct __user_cap_data_struct`: 32 capabilities in three sets."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


libc = ctypes.CDLL(None, use_errno=True)


def fail(code: int, sentence: str) -> None:
    """Leave one line in the log and end."""
    sys.stderr.write(f"launch: {sentence}\n")
    sys.stderr.flush()
    os._exit(code)


def checked(result: int, what: str) -> None:
    """End with the system's reason if a libc call failed."""
    if result != 0:
        fail(EXIT_NO_PRIVILEGE, f"{what}: {os.strerror(ctypes.get_errno())}")


def take_lock(path: str, wait_seconds: float) -> None:
    """Hold `path` until the last process that inherits the descriptor has ended; write our pid into it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                fail(EXIT_LOCKED, f"an earlier process still holds {path}")
            time.sleep(0.005)
    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123  (pathlib would double the start-up time)
        born = (
            file.read().rpartition(b")")[2].split()[19]
        )  # field 22: ticks from boot to this process's start
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d %s" % (os.getpid(), born))
    os.set_inheritable(descriptor, True)


def drop_root(uid: int, gid: int, private_gid: int, capability: int) -> None:
    """Become `uid`, keeping at most one capability (as ambient, so that it survives exec)."""
    if capability >= 0:
        checked(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "cannot keep a capability")
    try:
        os.setgroups([private_gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        fail(EXIT_NO_PRIVILEGE, f"cannot become user {uid}: {error.strerror}")
    if capability >= 0:
        bits = 1 << capability
        header = CapabilityHeader(CAPABILITY_VERSION_3, 0)
        sets = (CapabilitySets * 2)(CapabilitySets(bits, bits, bits), CapabilitySets(0, 0, 0))
        checked(libc.capset(ctypes.byref(header), sets), "cannot set capabilities")
        checked(
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0), "cannot raise a capability"
        )


def main(argv: list[str]) -> None:
    """See the module's text."""
    parent, death_signal, uid, gid, private_gid, capability = (int(word) for word in argv[:6])
    lock, wait_seconds = argv[6], float(argv[7])
    program = argv[9:]
    if lock:
        take_lock(lock, wait_seconds)
    if uid >= 0:
        drop_root(uid, gid, private_gid, capability)
    # After the change of user, which clears it.
    checked(libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0), "cannot ask for the parent's death")
    if os.getppid() != parent:
        os._exit(EXIT_PARENT_GONE)
    try:
        os.execv(program[0], program)  # noqa: S606  (no shell is wanted)
    except OSError as error:
        fail(EXIT_NO_PRIVILEGE, f"cannot run {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
