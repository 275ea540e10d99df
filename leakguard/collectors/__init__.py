"""Numbers from the kernel: one Sample per service, the cgroups above it, the host."""
