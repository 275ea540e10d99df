"""Many series at once, for who looks after a fleet; needs the extra `fleet`, never the daemon."""
