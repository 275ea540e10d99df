"""State on disk: one transaction per tick; events and deliveries as an outbox."""
