"""A memory domain as `victims --json` and `doctor --json` both begin it."""

from typing import Any

from leakguard.core.victims import Domain


def domain_to_plain(domain: Domain) -> dict[str, Any]:
    """Give which domain it is, its limit, its use and what is left, in bytes."""
    return {
        "kind": domain.kind.value,
        "path": domain.path,
        "version": domain.version,
        "limit_bytes": domain.limit_bytes,
        "usage_bytes": domain.usage_bytes,
        "headroom_bytes": {
            "low": domain.headroom.low_bytes,
            "high": domain.headroom.high_bytes,
        },
    }
