"""`memtrack COMMAND ...`: one entry point for all commands except those of DVC and MLflow."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "init": ("memtrack.cli.init", "make a project: dvc.yaml and params.yaml for your images"),
    "check": ("memtrack.cli.check", "check params.yaml"),
    "evaluate": ("memtrack.cli.evaluate", "judge what a Recorder wrote in a training loop of your own"),
    "export": ("memtrack.cli.export", "write the suspects for Label Studio or FiftyOne"),
    "import": ("memtrack.cli.import_", "read the decisions that were made in Label Studio"),
    "results": ("memtrack.cli.results", "print the table of results"),
    "tune": ("memtrack.tune.__main__", "search h and the number of probes, or the recipe"),
    "upload": ("memtrack.cli.upload", "send MLflow the data it missed while it was unreachable"),
    "upgrade": ("memtrack.cli.upgrade", "bring dvc.yaml up to this version of memtrack"),
}
"""For each command, the module whose `main` takes its arguments, and a description."""


def main(argv: list[str] | None = None) -> None:
    """Run a command, which ends the process with its own status."""
    arguments = sys.argv[1:] if argv is None else argv
    lines = "\n".join(f"  {name:<8} {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="memtrack",
        description="Find the training samples that a network had to memorize. `dvc repro` runs the stages.",
        epilog=f"commands:\n{lines}\n\n`memtrack COMMAND --help` describes a command.",
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
