"""`memtrack COMMAND ...`: one command for all that a person runs beside DVC and MLflow."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "check": ("memtrack.cli.check", "check params.yaml"),
    "results": ("memtrack.cli.results", "print the table of results"),
    "tune": ("memtrack.tune.__main__", "search the perturbation scale and the number of probes"),
    "upload": ("memtrack.cli.upload", "send to MLflow what it lacks because it was away"),
}
"""For each command the module whose function `main` takes its arguments, and what it does."""


def main(argv: list[str] | None = None) -> None:
    """Run a command; it ends the process with its own status."""
    arguments = sys.argv[1:] if argv is None else argv
    lines = "\n".join(f"  {name:<8} {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="memtrack",
        description="Find the training samples that a network had to memorize. `dvc repro` runs the stages.",
        epilog=f"commands:\n{lines}\n\n`memtrack COMMAND --help` explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=not arguments or arguments[0] not in COMMANDS,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    if not arguments:
        parser.print_help()
        return
    command = parser.parse_known_args(arguments[:1])[0].command
    importlib.import_module(COMMANDS[command][0]).main(arguments[1:])


if __name__ == "__main__":
    main()
