"""What `cl up` runs on one machine: services, their supervisor, recovery and diagnostics."""
