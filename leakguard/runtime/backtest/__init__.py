"""Back-tests: recorded memory through the real engine, with restarts that the recording never saw.

`recording` is what was measured, `lives` cuts it, `memory` models what a restarted service would
have used, `moments` knows when a restart is cheap, `play` drives the engine over one series, and
`compare` over many. `from_state` and `from_prometheus` read what others recorded.
"""
