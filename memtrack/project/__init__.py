"""The files of a project that uses memtrack: its data, its params.yaml, its dvc.yaml."""
