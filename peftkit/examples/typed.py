"""What a user types as a row: JSON with the columns that a prediction needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from peftkit.errors import UserError


def json_row(line: str, columns: Sequence[str]) -> dict[str, Any] | None:
    """The row that a line holds as a JSON object; None where it is no object, and so is taken as it stands.

    Raises:
        UserError: an object without one of `columns`.
    """
    try:
        given = json.loads(line) if line.lstrip().startswith("{") else None
    except ValueError:
        return None
    if not isinstance(given, dict):
        return None
    if missing := [column for column in columns if column not in given]:
        wanted = ", ".join(f'"{column}": …' for column in columns)
        raise UserError(f"a JSON line without {missing[0]!r}: write {{{wanted}}}, given {line!r:.60}")
    return {column: given[column] for column in columns}
