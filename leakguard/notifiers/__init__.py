"""Notifiers: how people are told. One file each; `base.py` is the contract."""
