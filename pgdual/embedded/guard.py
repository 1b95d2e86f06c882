"""The watchdog of one private server: a program of its own, run by its path.

It leads the process group that the server joins, so it needs no process ids: a group's number cannot
be given away while its leader lives. Its parent holds the writing end of its standard input. A byte
there releases it. The parent's death, by whatever signal, closes the pipe - and where a forked child
still holds that end open, the change of `getppid` tells.

Whether anything of the server is left is asked of a file lock, which the server's processes inherit
from one another: unlike process ids it is not fooled by zombies, and it covers those that have left
the group.

Run with `python -I -S`, so it uses the standard library alone.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

LOCK = "lock"
LOOK_AGAIN = 0.25
# PostgreSQL itself kills backends that have not left 5 s after an immediate shutdown.
GRACE = 6.0


def is_held(lock: Path) -> bool:
    """Return True while a process lives that took or inherited this lock."""
    try:
        with lock.open("rb") as probe:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def wait_until_free(lock: Path, patience: float) -> bool:
    """Return True once nobody holds the lock, False after *patience* seconds."""
    deadline = time.monotonic() + patience
    while is_held(lock):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.002)
    return True


def remove(folder: Path, patience: float = 5.0) -> None:
    """Remove a folder into which dying processes may still write, within *patience* seconds."""
    deadline = time.monotonic() + patience
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)


def owner_is_gone(parent: int) -> bool:
    """Wait; return True when the parent is gone, False when it released this guard."""
    while os.getppid() == parent:
        if select.select([0], [], [], LOOK_AGAIN)[0]:
            return os.read(0, 1) == b""
    return True


def clear(number: int, folder: Path, grace: float = GRACE) -> None:
    """End this process's group: by signal *number*, after *grace* seconds by SIGKILL; remove *folder*."""
    os.killpg(0, number)
    os.killpg(0, signal.SIGCONT)  # a stopped process would not see the first
    wait_until_free(folder / LOCK, grace)
    remove(folder)
    os.killpg(0, signal.SIGKILL)  # this process as well


def main(parent: int, number: int, folder: Path) -> None:
    """Wait for release or for the parent's end, and clear up after the latter."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    if owner_is_gone(parent):
        clear(number, folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
