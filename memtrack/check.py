"""`python -m memtrack.check`: the same as `memtrack check`."""

from memtrack.cli.check import main

if __name__ == "__main__":
    main()
