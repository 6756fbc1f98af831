"""How long does a training step take in several processes, and does it give the same weights?

    python benchmarks/several_processes.py                                # a small CNN in two processes
    python benchmarks/several_processes.py --device cuda --processes 4    # ResNet-18, a GPU for each process
    python benchmarks/several_processes.py --device cuda --backend gloo   # two processes on one GPU

All train the same network on the same batches: one process as usual; one process as a group of its own, which
shows what replication and batch norm over processes cost; and several processes. With `--precision float64`
the weights must agree to many digits. In float32 they do not: a rounding error that changes the largest pixel
of a pooling, or the sign of an activation, changes the gradient.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import time
from typing import Any, get_args

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import distributed, nn

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.distributed import ALONE, ProcessGroup, World
from memtrack.core.training.models import build
from memtrack.core.training.precision import TrainingPrecision
from memtrack.core.training.trainer import Trainer

SHAPE, CLASSES, EPOCHS = (3, 32, 32), 10, 3


def network(device: torch.device) -> nn.Module:
    """ResNet-18 on a GPU, a small CNN on a CPU."""
    torch.manual_seed(0)
    if device.type == "cuda":
        model = build("torchvision", SHAPE, CLASSES, name="resnet18", small_stem=True)
        model = nn.Sequential(model, nn.Dropout(0.1))  # only to see whether it is the same everywhere
        return model.to(device, memory_format=torch.channels_last)
    return build("cnn", SHAPE, CLASSES, width=16, depth=3, dropout=0.5)


def train(world: World, device: torch.device, options: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Seconds per step after the first epoch, and the weights after it."""
    exact = torch.float64 if options.precision == "float64" else torch.float32
    model = network(device).to(exact)
    count = options.batch * options.steps
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, *SHAPE, generator=generator).to(device, exact)
    if device.type == "cuda":
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (count,), generator=generator).to(device)
    cuts = np.split(np.arange(count), range(options.batch, count, options.batch))
    parts = [(images[rows[0] : rows[-1] + 1], labels[rows[0] : rows[-1] + 1]) for rows in world.of_each(cuts)]
    training = Trainer(
        model,
        optimizer={"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        schedule={"kind": "constant"},
        augment=Augmentation(crop=4, flip=True),
        epochs=EPOCHS,
        steps=len(cuts),
        seed=0,
        precision="float32" if options.precision == "float64" else options.precision,
        world=world,
        shape=SHAPE,
    )
    sizes = [len(rows) for rows in cuts]
    training.run_epoch(1, parts, sizes)
    weights = {name: tensor.double().cpu().numpy() for name, tensor in model.state_dict().items()}
    start = time.perf_counter()
    for epoch in range(2, EPOCHS + 1):
        training.run_epoch(epoch, parts, sizes)
    return (time.perf_counter() - start) / (EPOCHS - 1) / len(cuts), weights


def in_group(rank: int, size: int, port: int, options: argparse.Namespace, answers: Any) -> None:
    """Train in a process of a group; the first one answers."""
    index = rank % torch.cuda.device_count() if options.device == "cuda" else None
    device = torch.device(options.device, index)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // size))
    backend = options.backend or ("nccl" if device.type == "cuda" else "gloo")
    backend = f"cpu:gloo,cuda:{backend}" if device.type == "cuda" else backend
    distributed.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    found = train(ProcessGroup(device), device, options)
    if rank == 0:
        answers.put(found)
    distributed.barrier()
    distributed.destroy_process_group()


def grouped(size: int, options: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """What a group of processes gives."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answers = context.Queue()
    arguments = [(rank, size, port, options, answers) for rank in range(size)]
    processes = [context.Process(target=in_group, args=each) for each in arguments]
    for process in processes:
        process.start()
    found: tuple[float, dict[str, Any]] = answers.get(timeout=300)
    for process in processes:
        process.join()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--backend", choices=["gloo", "nccl"])
    parser.add_argument("--precision", default="float32", choices=[*get_args(TrainingPrecision), "float64"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="steps of an epoch")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.use_deterministic_algorithms(device.type == "cuda", warn_only=True)
    seconds, expected = train(ALONE, device, options)
    print("| | ms a step | largest difference of a weight after an epoch |\n|---|---|---|")
    print(f"| one process | {1000 * seconds:.1f} | |")
    for size in (1, options.processes):
        took, weights = grouped(size, options)
        differences = [float(np.abs(weights[name] - array).max()) for name, array in expected.items()]
        print(f"| a group of {size} | {1000 * took:.1f} | {max(differences):.1e} |", flush=True)


if __name__ == "__main__":
    main()
