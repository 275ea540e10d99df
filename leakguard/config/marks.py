"""Marks on settings that `document.py` and `reference.py` show in their own way."""

from typing import Any

OFF: dict[str, Any] = {"x-off": True}
"""Marks a setting that `false` switches off."""

MANY: dict[str, Any] = {"x-many": True}
"""Marks a list that may be written as its only item."""


def plug_in(kind: str) -> dict[str, Any]:
    """Mark a setting that names a plug-in; `choices.py` validates it, `document.py` shows it."""
    return {"x-plugin": kind}
