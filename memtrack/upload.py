"""`python -m memtrack.upload`: the same as `memtrack upload`."""

from memtrack.cli.upload import main

if __name__ == "__main__":
    main()
