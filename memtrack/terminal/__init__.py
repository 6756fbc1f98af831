"""What the user sees while a command runs: progress, errors, exit status."""
