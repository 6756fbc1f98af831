"""The params.yaml of a new project."""

from __future__ import annotations

import json
from typing import Any

from memtrack.project.found import Data

VARIANT = "given"
"""The variant with the labels as they are."""
ENOUGH = 100
"""With fewer samples stage suspects would have too few labels to flip."""

TEXT = """\
# `memtrack check` checks this file, and `dvc repro` runs what it describes.

data:                     # the folder of the images is watched by DVC
{data}
variants:                 # one data set with several sets of labels; each one is trained and scored
  {variant}:
    kind: none            # the labels as they are
    labels: data/prepared

train:
  epochs: 30
  batch_size: 64
  model:
{model}    dropout: 0.5
  optimizer: {{kind: sgd, lr: 0.05, weight_decay: 0.0005}}
  schedule: {{kind: cosine}}
  loss: {{kind: early_learning}}  # resists wrong labels; cross_entropy to study what is memorized
  augment: {{crop: {crop}, flip: {flip}}}

record:
  epochs: {{kind: every, interval: 2}}

curvature:
  perturbation_scale: 0.03  # h, in normalized input units
  probes: 1                 # n, the number of random directions per epoch

evaluate: {{scores: null}}

suspects:                 # [{variant}] trains once more, and says of every label how probably it is wrong
  variants: {learned}

duplicates: {{}}
repeat: {{seeds: []}}     # other seeds show how much is chance

memorization:             # [{variant}] trains many small networks: who was memorized?
  variants: []
  published: {{}}

utility: {{variants: []}}

tracking: {{uri: null}}   # null: mlflow.db in this folder; or the address of a server
"""

IMAGES = """\
    kind: cnn             # small and quick; or a pretrained network, or your own (docs/networks.md)
    width: 32
    depth: {depth}
"""
VECTORS = """\
    kind: mlp             # or a network of your own (docs/networks.md)
    width: 64
    depth: 1
"""


def params_text(data: Data) -> str:
    """The content of params.yaml for some data."""
    lines = "".join(f"  {key}: {_yaml(value)}\n" for key, value in data.section.items())
    small, vectors = data.size < 24, data.size == 1
    model = VECTORS if vectors else IMAGES.format(depth=2 if small else 3)
    return TEXT.format(
        data=lines,
        variant=VARIANT,
        learned=f"[{VARIANT}]" if data.count >= ENOUGH else "[]",
        model=model,
        crop=0 if small else data.size // 8,
        flip=_yaml(not data.grey and not vectors),
    )


def _yaml(value: Any) -> str:
    """A value as YAML; JSON is YAML, and text that needs no quotes is easier to read without."""
    if isinstance(value, str) and value.replace("_", "").replace("/", "").replace(".", "").isalnum():
        return value if not value.replace(".", "").isdecimal() else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)
