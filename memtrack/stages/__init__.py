"""The stages of dvc.yaml: one thin module each, with the stage's name."""

from __future__ import annotations

import argparse
import os

# Threads of torch that wait should sleep, not spin: two trainings on the same cores (dvc queue -j 2)
# otherwise slow each other down many times over. It must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from memtrack.io import params
from memtrack.io.validation import nearest


def load_with_variant(doc: str | None) -> tuple[params.Params, str]:
    """The parameters and the variant named on the command line."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("variant", help="a key of variants: in params.yaml")
    name: str = parser.parse_args().variant
    return load_variant(name), name


def load_variant(name: str) -> params.Params:
    """The parameters; `InputError` where they have no variant `name`."""
    loaded = params.load()
    if name not in loaded.variants:
        hint = nearest(name, loaded.variants)
        text = f"no variant {name!r}{hint} (there are: {', '.join(loaded.variants)})"
        raise params.mistake("variants", message=text)
    return loaded
