"""The names of processes that hold leases: ``<place>-<process id>-<chance>``, so that the dead ones are known here."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import psutil


def own_name() -> str:
    """A fresh name for this process."""
    return f"{place()}-{os.getpid()}-{secrets.token_hex(4)}"


def place() -> str:
    """Where process ids mean the same as here: this boot of this machine, and this namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return f"{os.uname().nodename}:{secrets.token_hex(8)}"
    return f"{os.uname().nodename}:{boot[:8]}:{space}"


def machine(owner: str) -> str:
    """The machine that such a process runs on."""
    return owner.partition(":")[0]


def dead(owner: str) -> bool:
    """Whether that was a process here that is no more."""
    where, _, rest = owner.rpartition("-")[0].rpartition("-")
    return where == place() and rest.isdigit() and not psutil.pid_exists(int(rest))
