"""Targets: which processes are the service now. One file each; `base.py` is the contract."""
