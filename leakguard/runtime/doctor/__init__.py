"""What `leakguard doctor` finds out about this machine, without acting; the daemon never loads it.

watched     the guarded services, from a daemon's status or from a configuration
processes   sizes and protection of processes
services    where a guarded service lives
domains     what a memory domain holds, and whom it takes
diagnosis   all of it, put to the rules of `leakguard.core.findings`: START HERE
"""
