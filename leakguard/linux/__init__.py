"""What the Linux kernel says and does: /proc, cgroups, descriptors, signals. Nothing judges here."""
