"""Text that fits: cut on code points with an ellipsis, and clean of what JSON cannot carry."""

import math
from collections.abc import Mapping

from leakguard.core.events import Detail

ELLIPSIS = "…"


def clean(text: str) -> str:
    """Replace halves of characters, which a process name may hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def one_line(text: str) -> str:
    """Replace control characters and line ends by blanks."""
    return "".join(c if c.isprintable() else " " for c in clean(text)).strip()


def cut(text: str, limit: int) -> str:
    """Give at most `limit` code points, the last one an ellipsis when something is missing."""
    return text if len(text) <= limit else text[: max(0, limit - 1)].rstrip() + ELLIPSIS


def plain_details(details: Mapping[str, Detail]) -> dict[str, Detail]:
    """Give numbers for machines as strict JSON allows them: what is not finite is null."""
    found: dict[str, Detail] = {}
    for name, value in details.items():
        if isinstance(value, float) and not math.isfinite(value):
            found[clean(name)] = None
        else:
            found[clean(name)] = clean(value) if isinstance(value, str) else value
    return found
