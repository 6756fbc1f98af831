"""The commands for users: `memtrack check|results|tune|upload`."""
