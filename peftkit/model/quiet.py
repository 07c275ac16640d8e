"""Silence for what the libraries say over and over and peftkit says once, in its own words."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Turns down progress bars and repeated notices; errors stay."""
    import datasets
    import transformers

    without_unused_kernel()
    transformers.logging.set_verbosity_error()  # newly initialised heads: told by the head's own bookkeeping
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # one line per 8-bit product
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    for module in ("peft", "transformers", "accelerate", "bitsandbytes", "torch"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")


def without_unused_kernel() -> None:
    """Keeps bitsandbytes, when it is imported, from asking for a kernel that peftkit does without; see
    `quantizing.keep_trainable_on_cpu`. Said on processors with AVX512-BF16; its other warnings stay."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_of_use)


def _of_use(notice: logging.LogRecord) -> bool:
    return not str(notice.msg).startswith("Failed to load CPU gemm_4bit_forward")
