"""Training of a student: repeatable by its seed, also when it is interrupted."""

from __future__ import annotations

import io
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from idse.errors import InputError, ModelError
from idse.files import write_atomically
from idse.learned.student.network import VIDEO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from idse.learned.student.examples import Example
    from idse.learned.student.network import StudentNetwork

# Shares of the loss. Allocation adds a share of the set's mean to every importance before it takes
# the logarithm: that is where errors count most. So that order shows also within pictures that
# matter little beside others, some of it is relative to the picture's own mean, and a little plain;
# and of the picture's level.
_SET, _OWN, _LEVEL, _PLAIN = 1.0, 0.5, 0.3, 0.1
# What is added, times the mean: `idse.allocation.OffsetPolicy.alpha`.
_ALPHA = 0.5
# Errors beyond so many nepers count linearly: sketches are noisy, and pictures surprising.
_HUBER = 1.0
_WARM_UP = 100
# A step sees pictures of so many shapes.
_PARTS = 2
_CLIP = 2.0
_DECAY = 1e-2


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What makes a run repeatable; a checkpoint goes on only under the plan it was made with.

    Attributes
    ----------
    steps, batch
        Of Adam with decoupled decay of weights, and pictures in each at most.
    rate
        Learning rate, of weights that did not come from ImageNet: reached after 100 steps (or a
        tenth) and falling to nothing as a cosine.
    seed
        Of order and flips, and of the first weights where there are none.
    gentle, dropout
        As `idse.learned.student.network.Kind` has them.
    """

    steps: int
    batch: int = 16
    rate: float = 3e-3
    seed: int = 0
    gentle: float = VIDEO.gentle
    dropout: float = VIDEO.dropout

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise InputError(f"{self.steps} steps of {self.batch} pictures: at least 1 of 1")
        if not 0 < self.rate < 1 or self.seed < 0:
            raise InputError(f"rate {self.rate} must be within 0 and 1, seed {self.seed} from 0 on")
        if not 0 < self.gentle <= 1:
            raise InputError(f"gentle {self.gentle} must be above 0, and 1 at most")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout {self.dropout} must be from 0 on and below 1")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far training is: the mean loss of the last steps."""

    step: int
    steps: int
    loss: float


def loss(found: Tensor, target: Tensor, level: Tensor) -> Tensor:
    """Return what errors of a map cost.

    Beside the set, an error of u nepers costs ``e^u - u - 1``: what steering by it loses at high
    rate, where distortion falls as bits are spent and bits as the logarithm of importance
    (`idse.learned.student.judge.steering_gain`). Least on average is the mean importance, whatever
    the noise of sketches.

    Parameters
    ----------
    found, target
        ``(n, heads, rows, columns)``: natural logarithms of importance relative to the teacher's
        mean.
    level
        ``(n, heads)``: that of the mean of the set that a picture is coded in.
    """
    own = target.exp().mean((2, 3), keepdim=True)
    levels = found.exp().mean((2, 3)).log(), own[:, :, 0, 0].log()
    soft = torch.logaddexp
    near, whole = (_ALPHA * own).log(), level[:, :, None, None] + math.log(_ALPHA)

    def cost(a: Tensor, b: Tensor) -> Tensor:
        return functional.huber_loss(a, b, delta=_HUBER)

    return (
        _SET * _steered(soft(found, whole), soft(target, whole))
        + _OWN * cost(soft(found, near), soft(target, near))
        + _LEVEL * cost(*levels)
        + _PLAIN * cost(found, target)
    )


def _steered(found: Tensor, target: Tensor) -> Tensor:
    error = target - found
    near = error.clamp_max(_HUBER)
    return (near.exp() - error - 1 + math.exp(_HUBER) * (error - near)).mean()


def train(
    network: StudentNetwork,
    examples: Sequence[Example],
    plan: TrainingPlan,
    *,
    checkpoint: Path | None = None,
    every: float = 60.0,
    progress: Callable[[Progress], None] | None = None,
) -> float:
    """Train a network in place.

    Parameters
    ----------
    network
        A student with one head per channel of the targets.
    examples
        What it learns from; those that are held are left out.
    plan
        How.
    checkpoint
        File that the state is kept in, and taken from where it is of the same plan and pictures.
    every
        Seconds between two writes of it.
    progress
        Called after every step.

    Returns
    -------
    float
        The mean loss of the last steps.

    Raises
    ------
    InputError
        There is nothing to learn from.
    ModelError
        The loss is not finite.
    OutputError
        The checkpoint cannot be written.
    """
    learned = [item for item in examples if not item.held]
    if not learned:
        raise InputError("there are no pictures to learn from: give more of them")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [value for value in network.parameters() if value.requires_grad]
    adam = _adam(network, plan)
    key = str(asdict(plan) | {"pictures": len(learned), "heads": len(learned[0].target)})
    begin, mean = _resume(network, adam, checkpoint, key)
    looks = _Looks.of(network, learned)
    network.train()
    network.dropout = plan.dropout
    shown = time.monotonic()
    for step in range(begin, plan.steps):
        for group in adam.param_groups:
            group["lr"] = group["initial_lr"] * _pace(step, plan.steps)
        adam.zero_grad(set_to_none=True)
        value = 0.0
        for part in range(_PARTS):
            seen = _batch(looks, plan, step, part)
            with torch.random.fork_rng(devices=[]):
                # What is dropped depends on the step alone, also when a run goes on.
                torch.manual_seed((plan.seed * plan.steps + step) * _PARTS + part)
                found = network.trained(seen.buffers)
            cost = loss(found, seen.target, seen.level) / _PARTS
            cost.backward()  # type: ignore[no-untyped-call]
            value += float(cost.detach())
        if not math.isfinite(value):
            raise ModelError(f"training failed at step {step}: the loss is {value}")
        torch.nn.utils.clip_grad_norm_(trained, _CLIP)
        adam.step()
        mean = value if not step else 0.98 * mean + 0.02 * value
        if progress is not None:
            progress(Progress(step=step + 1, steps=plan.steps, loss=mean))
        last = step + 1 == plan.steps
        if checkpoint is not None and (last or time.monotonic() - shown >= every):
            _keep(network, adam, checkpoint, {"key": key, "step": step + 1, "loss": mean})
            shown = time.monotonic()
    network.eval()
    return mean


def _adam(network: StudentNetwork, plan: TrainingPlan) -> torch.optim.AdamW:
    """Return what trains a network: gently what it has learned from more pictures than these."""
    gentle = {id(value) for conv in network.pretrained for value in conv.parameters()}
    trained = [value for value in network.parameters() if value.requires_grad]
    groups = [
        {"params": [v for v in trained if id(v) not in gentle], "initial_lr": plan.rate},
        {
            "params": [v for v in trained if id(v) in gentle],
            "initial_lr": plan.gentle * plan.rate,
        },
    ]
    return torch.optim.AdamW(groups, lr=plan.rate, weight_decay=_DECAY)


def _pace(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step."""
    warm = min(_WARM_UP, max(1, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


@dataclass(frozen=True, eq=False)
class _Seen:
    """One look at an example, or several: what is not trained says, targets and their levels."""

    buffers: dict[int, Tensor]
    target: Tensor
    level: Tensor


@dataclass(frozen=True, eq=False)
class _Looks:
    """All looks at what is learned from, and how often each is taken."""

    seen: list[list[_Seen]]
    shares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, network: StudentNetwork, learned: Sequence[Example]) -> _Looks:
        """Look at every example: as it is, and mirrored."""
        network.eval()
        seen = [
            [_seen(network, item), _seen(network, item, slice(None, None, -1))] for item in learned
        ]
        weights = np.array([item.weight for item in learned])
        return cls(seen, weights / weights.sum())


def _seen(network: StudentNetwork, item: Example, columns: slice = slice(None)) -> _Seen:
    planes, target = item.planes[..., columns], item.target[..., columns]
    with torch.no_grad():
        found = network.base(torch.from_numpy(planes.astype(np.float32)[None]))
    buffers = {i: value[0].half() for i, value in found.items()}
    return _Seen(buffers, torch.from_numpy(target.copy()), torch.from_numpy(item.level))


def _batch(looks: _Looks, plan: TrainingPlan, step: int, part: int) -> _Seen:
    """Return what the trained part sees in a part of a step: of pictures of one shape."""
    random = np.random.default_rng((plan.seed, step, part))
    count = len(looks.seen)
    shape = looks.seen[int(random.choice(count, p=looks.shares))][0].target.shape
    like = np.array([k for k, item in enumerate(looks.seen) if item[0].target.shape == shape])
    shares = looks.shares[like] / looks.shares[like].sum()
    size = min(len(like), -(-plan.batch // _PARTS))
    seen = [
        looks.seen[k][int(random.integers(len(looks.seen[k])))]
        for k in random.choice(like, size, replace=False, p=shares).tolist()
    ]
    buffers = {
        i: torch.stack([item.buffers[i] for item in seen])
        .float()
        .contiguous(memory_format=torch.channels_last)
        for i in seen[0].buffers
    }
    targets, levels = ([getattr(item, n) for item in seen] for n in ("target", "level"))
    return _Seen(buffers, torch.stack(targets), torch.stack(levels))


def _keep(
    network: StudentNetwork, adam: torch.optim.AdamW, path: Path, facts: dict[str, Any]
) -> None:
    file = io.BytesIO()
    torch.save(facts | {"network": network.state_dict(), "adam": adam.state_dict()}, file)
    write_atomically(path, file.getvalue())


def _resume(
    network: StudentNetwork, adam: torch.optim.AdamW, path: Path | None, key: str
) -> tuple[int, float]:
    """Go on from a checkpoint; return the next step, and the loss so far."""
    if path is None or not path.exists():
        return 0, 0.0
    try:
        kept = torch.load(path, weights_only=True)
    # Whatever is in there: it is only a start.
    except Exception as error:
        raise ModelError(f"checkpoint {path} is damaged: remove it, to begin anew") from error
    if kept.get("key") != key:
        return 0, 0.0
    network.load_state_dict(kept["network"])
    adam.load_state_dict(kept["adam"])
    return int(kept["step"]), float(kept["loss"])
