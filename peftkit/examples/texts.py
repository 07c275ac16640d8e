"""Generated text and the texts it is compared with: as they are, and what an extractor takes out of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
"""A setting that holds a regular expression."""


def extracted(text: str, extract: str | None) -> str | None:
    """What exact match compares: the first group of the last match of `extract`, or the whole match without a group.

    None where nothing matches. Without an extractor it is the text without the space around it.
    """
    if extract is None:
        return text.strip()
    matches = list(re.finditer(extract, text))
    if not matches:
        return None
    found = matches[-1]
    group: str | None = found[1] if found.re.groups else found[0]
    return None if group is None else group.strip()


def text_reference(texts: Sequence[str], extract: str | None) -> dict[str, Any]:
    """The texts of which any is right, and what `extracted` takes out of each (None where it finds nothing)."""
    return {"texts": list(texts), "extracted": [extracted(text, extract) for text in texts]}


def text_prediction(text: str, extract: str | None) -> dict[str, Any]:
    """A generated text, and what `extracted` takes out of it."""
    return {"text": text, "extracted": extracted(text, extract)}
