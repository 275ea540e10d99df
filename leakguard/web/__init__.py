"""The HTTP API over loopback and the control socket: what people and scrapers may see."""
