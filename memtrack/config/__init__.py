"""params.yaml: its sections, how it is read and checked, input errors, and the locations of files."""
