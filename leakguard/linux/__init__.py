"""What the Linux kernel shows and does: /proc, cgroups, descriptors. Roots are arguments."""
