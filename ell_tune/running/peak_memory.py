"""The most memory that this process has had since its job began; processes are reused, so it is reset for each job.

Only Linux can reset it; elsewhere nothing is measured.
"""

import re
from contextlib import suppress
from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_peak() -> None:
    """Starts measuring anew."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets the peak resident set size


def peak_memory() -> dict[str, float]:
    """The peak since `forget_peak` as a metric of `ell_tune.trainable.MEASURES`; empty where it is not known."""
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
        if found:
            return {"peak_memory_mib": int(found[1]) / 1024}
    return {}
