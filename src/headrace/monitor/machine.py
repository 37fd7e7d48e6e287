"""What this process and its machine have left: processor, memory, disk."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import psutil


def machine(data: Path) -> dict[str, Any]:
    """Shares in per cent, sizes in bytes. data: the folder whose disk counts."""
    process, memory = psutil.Process(), psutil.virtual_memory()
    disk = shutil.disk_usage(data)
    return {
        "cpu_percent": psutil.cpu_percent(),
        "cpu_count": psutil.cpu_count() or 1,
        "memory_total_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "disk_total_bytes": disk.total,
        "disk_free_bytes": disk.free,
        "process_memory_bytes": process.memory_info().rss,
        "process_threads": threading.active_count(),
        "process_open_files": process.num_fds(),
    }
