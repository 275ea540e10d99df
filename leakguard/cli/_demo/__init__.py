"""The pieces of `leakguard demo`: a leaking service, its cage, its users, and two acts."""
