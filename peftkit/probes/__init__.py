"""The PROBES table: a new probe is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from peftkit.contracts import Probe
from peftkit.probes.memory import MemoryProbe
from peftkit.probes.parameters import ParameterProbe
from peftkit.probes.storage import StorageProbe
from peftkit.probes.throughput import ThroughputProbe

PROBES: dict[str, Callable[[], Probe]] = {
    "parameters": ParameterProbe,
    "memory": MemoryProbe,
    "throughput": ThroughputProbe,
    "storage": StorageProbe,
}
