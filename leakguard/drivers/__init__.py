"""Drivers: how a service is restarted. One file each; `base.py` is the contract."""
