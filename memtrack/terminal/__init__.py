"""What a person sees while a command runs: progress, errors, exit status."""
