"""The stages of dvc.yaml: one thin module each, with the stage's name."""

from __future__ import annotations

import argparse
import os

# Threads of torch that wait should sleep, not spin: two trainings on the same cores (dvc queue -j 2)
# otherwise slow each other down many times over. It must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from memtrack.config.params import Params, load
from memtrack.config.validation import nearest


def load_with_variant(doc: str | None) -> tuple[Params, str]:
    """The parameters and the variant named on the command line."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("variant", help="a key of variants: in params.yaml")
    name: str = parser.parse_args().variant
    return load_variant(name), name


def load_variant(name: str) -> Params:
    """The parameters; `InputError` where they have no variant `name`."""
    params = load()
    if name not in params.variants:
        hint = nearest(name, params.variants)
        text = f"no variant {name!r}{hint} (there are: {', '.join(params.variants)})"
        raise params.mistake("variants", message=text)
    return params
