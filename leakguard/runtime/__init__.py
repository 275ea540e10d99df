"""The imperative shell: collect, step, commit, act. Start with `daemon.py`."""
