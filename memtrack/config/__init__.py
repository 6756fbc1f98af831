"""params.yaml: its sections, reading and checking it, what is wrong with an input, and where files are."""
