"""How readily a network would fit labels that mean nothing."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from memtrack.core.training.losses import CrossEntropy, Loss


def random_label_drop(
    model: nn.Module,
    optimizer: Optimizer,
    inputs: Tensor,
    labels: Tensor,
    *,
    seed: int,
    loss: Loss | None = None,
) -> float:
    """How far one step on randomly labelled inputs lowers the cross entropy of these labels, in nats.

        drop(t) = L(w_t) - L(w'_t),  w'_t = w_t after one step of the training's optimizer on L,

    where L is the mean cross entropy of the batch in training mode. The susceptibility after epoch t is the
    mean of drop(1), ..., drop(t). The step is taken by copies of network and optimizer with all that the
    optimizer remembers (learning rate, momentum); neither these nor the state of the random number
    generators change. Both losses have the same dropout. A loss that the step makes infinite counts as the
    largest number of its type.

    Args:
        model: the network, on its device.
        optimizer: the optimizer of its weights.
        inputs, labels: the batch (B, ...), and random labels (B,).
        seed: of the dropout.
        loss: its `logits` turns what the network returns in training mode into logits; None: they are logits.

    Raises:
        RuntimeError: if the network cannot be copied.

    Source: Forouzesh, Sedghi & Thiran, "Leveraging unlabeled data to track memorization", ICLR 2023, the
    definition of zeta(t), as in the code that its authors published (`compute_update_on_sout`). They also
    augment the images.
    """
    copied, stepping = copy.deepcopy((model, optimizer))
    copied.train()
    logits = (CrossEntropy() if loss is None else loss).logits

    def entropy() -> Tensor:
        torch.manual_seed(seed)
        return cross_entropy(logits(copied(inputs)), labels)

    with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
        before = entropy()
        stepping.zero_grad(set_to_none=True)
        torch.autograd.backward(before)
        stepping.step()
        with torch.no_grad():
            after = entropy()
    worst = torch.finfo(after.dtype).max
    return float(before.detach() - after.nan_to_num(nan=worst, posinf=worst))
