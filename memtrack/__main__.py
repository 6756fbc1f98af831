"""`python -m memtrack`: the same as `memtrack`."""

from memtrack.cli.main import main

if __name__ == "__main__":
    main()
