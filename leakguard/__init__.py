"""A watchdog for services that leak memory."""

__version__ = "0.1.0"
