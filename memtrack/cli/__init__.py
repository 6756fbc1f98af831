"""The commands for users: `memtrack check|evaluate|results|tune|upload`."""
