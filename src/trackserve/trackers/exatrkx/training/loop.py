"""The loop that trains a network: optimiser, schedule, validation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .config import Schedule
from .curves import Curves
from .stages import Stage

CHECKPOINT_SECONDS = 120.0
"""Seconds between two checkpoints."""

_RECENT_STEPS = 50
"""The loss that is shown is the mean over these."""

AnyStage = Stage[torch.nn.Module]
OnStep = Callable[[str, int, int, dict[str, float]], None]
"""Function that is called after each step. Its arguments are the name of the work, the number of
steps done, the number of all steps, and figures by name: the loss of recent steps, and what the
last validation found."""


def fit(
    stage: AnyStage,
    schedule: Schedule,
    seed: int,
    checkpoint: Path,
    curves: Curves,
    on_step: OnStep,
) -> dict[str, float]:
    """Train the network of ``stage``; at the end it has the best weights of all validations.

    A step depends on the seed, its number and the weights only. So an interrupted training
    continues from its checkpoint with the same bits.

    Args:
        stage: the network and its loss.
        schedule: how to fit it.
        seed: seed of all random choices.
        checkpoint: file to write; if the file exists, training continues from it.
        curves: takes the loss and the figures of every validation.
        on_step: called after each step.

    Returns:
        the figures of the best validation.
    """
    network = stage.network
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=schedule.rate, weight_decay=schedule.decay, fused=True
    )
    state: dict[str, Any] = {"step": 0, "losses": [], "rows": [], "best": None, "stale": 0}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        curves.restore(stage.name, state["rows"])
    saved = time.monotonic()
    last = state["rows"][-1][1] if state["rows"] else {}
    while state["step"] < schedule.steps and state["stale"] < schedule.patience:
        step = state["step"]
        state["losses"].append(_step(stage, optimizer, schedule, seed, step))
        state["step"] = step + 1
        due = (step + 1) % schedule.validate_every == 0 or step + 1 == schedule.steps
        if due:
            last = _validate(stage, state)
            curves.add(stage.name, step + 1, last)
        recent = state["losses"][-_RECENT_STEPS:]
        on_step(stage.name, step + 1, schedule.steps, _with_loss(last, recent))
        if due or time.monotonic() - saved > CHECKPOINT_SECONDS:
            state |= {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            save(state, checkpoint)
            saved = time.monotonic()
    figures, weights = state["best"]
    network.load_state_dict(weights)
    best: dict[str, float] = figures
    return best


def _with_loss(figures: dict[str, float], recent: list[float]) -> dict[str, float]:
    """The figures of the last validation, with the loss of recent steps first if there is one."""
    if not recent:
        return figures
    rest = {name: value for name, value in figures.items() if name != "loss"}
    return {"loss": float(np.mean(recent)), **rest}


def save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; if that is interrupted, the old file stays whole."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the learning rate of a step: it rises linearly, and then falls as a cosine."""
    warm_up = min(1.0, (step + 1) / schedule.warm_up)
    return schedule.rate * warm_up * 0.5 * (1 + math.cos(math.pi * step / schedule.steps))


def _step(
    stage: AnyStage,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    seed: int,
    step: int,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(schedule, step)
    loss = stage.loss(step, np.random.default_rng([seed, step]))
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(stage.network.parameters(), schedule.clip)
    optimizer.step()
    return float(loss.detach())


def _validate(stage: AnyStage, state: dict[str, Any]) -> dict[str, float]:
    """Judge the network; keep its weights if they are the best until now."""
    figures = {"loss": float(np.mean(state["losses"])), **stage.validate()}
    state["losses"] = []
    state["rows"].append((state["step"], figures))
    if state["best"] is None or figures["merit"] > state["best"][0]["merit"]:
        weights = {name: value.clone() for name, value in stage.network.state_dict().items()}
        state["best"], state["stale"] = (figures, weights), 0
    else:
        state["stale"] += 1
    return figures
