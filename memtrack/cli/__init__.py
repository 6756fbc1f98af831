"""The commands that a person runs: `memtrack check|results|tune|upload`."""
