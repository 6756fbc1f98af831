"""`python -m memtrack.results`: the same as `memtrack results`."""

from memtrack.cli.results import main

if __name__ == "__main__":
    main()
