"""The sections of params.yaml: one file each, with its rules."""
