"""A training by Hugging Face's Trainer that finds wrong labels: python examples/hugging_face_loop.py

It needs `pip install 'memtrack[transformers]'`, and downloads nothing.
"""

from __future__ import annotations

import tempfile

from noisy_digits import noisy_digits, options, show
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from memtrack import Recorder
from memtrack.integrations.transformers import MemtrackCallback

chosen = options("hugging_face_loop", epochs=10)
images, labels, wrong = noisy_digits(chosen.samples)
samples = [{"pixel_values": image, "labels": int(label)} for image, label in zip(images, labels, strict=True)]

set_seed(0)
config = ViTConfig(
    image_size=8, patch_size=2, num_channels=1, hidden_size=64, num_hidden_layers=2,
    num_attention_heads=4, intermediate_size=128, num_labels=10,
)  # fmt: skip

recorder = Recorder(samples, chosen.folder, batch_size=64)
with tempfile.TemporaryDirectory() as output:
    trainer = Trainer(
        model=ViTForImageClassification(config),
        args=TrainingArguments(
            output, num_train_epochs=chosen.epochs, per_device_train_batch_size=64, learning_rate=3e-3,
            report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
        ),
        train_dataset=samples,
        callbacks=[MemtrackCallback(recorder)],
    )  # fmt: skip
    trainer.train()

show(recorder.scores(), wrong, chosen.folder)
