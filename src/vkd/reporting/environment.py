"""What a result was measured on."""

import os
import platform
from datetime import date

from vkd.versions import versions


def environment() -> dict[str, str]:
    """Return date, versions and hardware by name."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "date": date.today().isoformat(),
        **versions(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "hardware": f"{device}, {os.cpu_count()} cores",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or "unknown processor"
