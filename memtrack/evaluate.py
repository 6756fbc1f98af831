"""`python -m memtrack.evaluate`: the same as `memtrack evaluate`."""

from memtrack.cli.evaluate import main

if __name__ == "__main__":
    main()
