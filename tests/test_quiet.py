"""What the libraries say that concerns nobody is silenced, and nothing else."""

from __future__ import annotations

import logging

import pytest

from peftkit.model.quiet import without_unused_kernel

KERNELS = "bitsandbytes.backends.cpu.ops"
MISSING = "Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please make sure …"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the logger of bitsandbytes' CPU kernels lets through, with no filter on it at first."""
    logger, found = logging.getLogger(KERNELS), []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "handlers", [Ear()])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    return found


def test_the_kernel_that_is_never_used_is_not_missed(heard: list[str]) -> None:
    logger = logging.getLogger(KERNELS)
    logger.warning(MISSING, "No module named 'kernels'")
    assert len(heard) == 1  # else nothing would be shown below
    for _ in range(2):
        without_unused_kernel()
    logger.warning(MISSING, "No module named 'kernels'")
    logger.warning("Another kernel is missing")
    assert heard[1:] == ["Another kernel is missing"]
    assert len(logger.filters) == 1


def test_bitsandbytes_still_says_it_in_these_words() -> None:
    """Else the filter would let it through: mend the words in `peftkit.model.quiet`."""
    import inspect

    import bitsandbytes.backends.cpu.ops as kernels

    assert f'"{MISSING.split(" from ")[0]}' in inspect.getsource(kernels)
