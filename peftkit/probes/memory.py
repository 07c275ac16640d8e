"""Peak memory by phase."""

from __future__ import annotations

import ctypes
import gc
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from peftkit.contracts import Probe

PHASES = ("load", "train", "evaluate")
STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


class MemoryProbe(Probe):
    """Peak bytes by phase: ``peak_memory_bytes`` (the largest of the phases on the run's main meter) and ``memory``.

    On CUDA ``memory`` holds, by phase, ``allocated`` and ``reserved`` of torch's allocator on this process's device. On
    a CPU it holds ``resident``: the peak resident set above the process's own before the model was loaded, so that the
    libraries do not count; ``method`` says how it was read (the kernel's high-water mark, reset at each phase, or
    samples taken every 10 ms).
    """

    def __init__(self) -> None:
        self.meter: Meter | None = None
        self.phases: dict[str, dict[str, int]] = {}

    def phase_started(self, phase: str) -> None:
        if phase in PHASES:
            self.meter = self.meter or make_meter()
            self.meter.start()

    def phase_ended(self, phase: str) -> None:
        if phase not in PHASES or self.meter is None:
            return
        peaks = self.meter.stop()
        before = self.phases.get(phase, {})
        self.phases[phase] = {name: max(value, before.get(name, 0)) for name, value in peaks.items()}

    def costs(self) -> dict[str, Any]:
        if self.meter is None or not self.phases:
            return {}
        peaks = [next(iter(phase.values())) for phase in self.phases.values()]
        return {"peak_memory_bytes": max(peaks), "memory": {"method": self.meter.method, **self.phases}}


def make_meter() -> Meter:
    """The meter of this machine; asked for when the first phase starts, and not before."""
    import torch

    return CudaMeter() if torch.cuda.is_available() else ResidentMeter()


class Meter:
    """Reads the peaks of one stretch of the run, main figure first."""

    method: str

    def start(self) -> None:
        """The stretch begins."""
        raise NotImplementedError

    def stop(self) -> dict[str, int]:
        """Peaks since `start`, bytes by name."""
        raise NotImplementedError


class CudaMeter(Meter):
    """torch's own statistics of the current device."""

    method = "torch.cuda max_memory_allocated and max_memory_reserved"

    def start(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats()

    def stop(self) -> dict[str, int]:
        import torch

        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}


class ResidentMeter(Meter):
    """Peak resident set of this process above what it was when the meter was made."""

    def __init__(self) -> None:
        gc.collect()  # once only: with the libraries loaded it takes a third of a second
        _release()
        self.exact = _reset_high_water_mark()
        self.method = "peak resident set above the process's own, " + (
            "kernel high-water mark reset at each phase" if self.exact else "sampled every 10 ms"
        )
        self.baseline = _resident()
        self.sampler: Sampler | None = None

    def start(self) -> None:
        _release()
        if self.exact:
            _reset_high_water_mark()
        else:
            self.sampler = Sampler()

    def stop(self) -> dict[str, int]:
        peak = _status_bytes("VmHWM") if self.sampler is None else self.sampler.finish()
        return {"resident": max(0, peak - self.baseline)}


class Sampler:
    """Notes the largest resident set, looking every 10 ms from a thread, where the kernel keeps no resettable mark."""

    def __init__(self) -> None:
        self.peak = _resident()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def finish(self) -> int:
        """Stops looking; the peak in bytes."""
        self.done.set()
        self.thread.join()
        return max(self.peak, _resident())

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            self.peak = max(self.peak, _resident())


def _release() -> None:
    """Hands freed memory back to the system, so that a phase does not answer for what an earlier one left behind.

    glibc keeps small freed blocks resident; malloc_trim(3) gives them up. Other C libraries have no such call.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _status_bytes(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024  # the kernel writes kB and means KiB


def _reset_high_water_mark() -> bool:
    """Sets VmHWM to the present resident set (Linux, proc(5): clear_refs, value 5); False where that is not allowed."""
    try:
        RESET.write_text("5")
        return _status_bytes("VmHWM") - _resident() < 64 * 2**20
    except (OSError, StopIteration):
        return False
