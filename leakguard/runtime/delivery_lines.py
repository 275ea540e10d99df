"""A delivery as the API and `notify outbox` print it."""

from leakguard.core.instant import rfc3339
from leakguard.store.base import Delivery, DeliveryState

WAITING = (DeliveryState.PENDING, DeliveryState.GAVE_UP)
"""What people ask for: what still has to arrive, and what never will."""


def plain_delivery(delivery: Delivery) -> dict[str, object]:
    """Give one delivery as a flat object; `next_try_at` is null once it was given up."""
    pending = delivery.state is DeliveryState.PENDING
    return {
        "alert": delivery.alert.id,
        "channel": delivery.channel,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "created_at": rfc3339(delivery.created_wall_s),
        "next_try_at": rfc3339(delivery.next_try_wall_s) if pending else None,
        "answer": delivery.answer,
        "title": delivery.alert.title,
        "severity": delivery.alert.severity.value,
        "service": delivery.alert.service or None,
    }
