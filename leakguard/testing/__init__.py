"""Fakes that follow the real contracts: for our tests, and for those who write plug-ins."""
