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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from idse.learned.student.examples import Example
    from idse.learned.student.network import StudentNetwork

# Shares of the loss. Allocation adds a share of the mean to every importance before it takes the
# logarithm: errors count there, relative to the picture's own mean, to the set's, and of the mean
# itself; a little of the plain logarithm keeps order among what matters least.
_OWN, _SET, _LEVEL, _PLAIN = 1.0, 0.5, 0.3, 0.1
# What is added, times the mean: `idse.allocation.OffsetPolicy.alpha`.
_ALPHA = 0.5
# Errors beyond so many nepers count linearly: sketches are noisy, and pictures surprising.
_HUBER = 1.0
_WARM_UP = 100
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
        Learning rate, reached after 100 steps (or a tenth) and falling to nothing as a cosine.
    seed
        Of order and flips, and of the first weights where there are none.
    """

    steps: int
    batch: int = 16
    rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise InputError(f"{self.steps} steps of {self.batch} pictures: at least 1 of 1")
        if not 0 < self.rate < 1 or self.seed < 0:
            raise InputError(f"rate {self.rate} must be within 0 and 1, seed {self.seed} from 0 on")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far training is: the mean loss of the last steps."""

    step: int
    steps: int
    loss: float


def loss(found: Tensor, target: Tensor) -> Tensor:
    """Return what errors of a map cost.

    Parameters
    ----------
    found, target
        ``(n, heads, rows, columns)``: natural logarithms of importance relative to the set's mean.
    """
    own = target.exp().mean((2, 3), keepdim=True)
    levels = found.exp().mean((2, 3)).log(), own[:, :, 0, 0].log()
    soft = torch.logaddexp
    near, whole = (_ALPHA * own).log(), own.new_tensor(math.log(_ALPHA))

    def cost(a: Tensor, b: Tensor) -> Tensor:
        return functional.huber_loss(a, b, delta=_HUBER)

    return (
        _OWN * cost(soft(found, near), soft(target, near))
        + _SET * cost(soft(found, whole), soft(target, whole))
        + _LEVEL * cost(*levels)
        + _PLAIN * cost(found, target)
    )


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
    adam = torch.optim.AdamW(trained, lr=plan.rate, weight_decay=_DECAY)
    key = str(asdict(plan) | {"pictures": len(learned), "heads": len(learned[0].target)})
    begin, mean = _resume(network, adam, checkpoint, key)
    looks = _look(network, learned)
    network.train()
    shown = time.monotonic()
    for step in range(begin, plan.steps):
        for group in adam.param_groups:
            group["lr"] = plan.rate * _pace(step, plan.steps)
        buffers, target = _batch(looks, plan, step)
        adam.zero_grad(set_to_none=True)
        cost = loss(network.trained(buffers), target)
        value = float(cost.detach())
        if not math.isfinite(value):
            raise ModelError(f"training failed at step {step}: the loss is {value}")
        cost.backward()  # type: ignore[no-untyped-call]
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


def _pace(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step."""
    warm = min(_WARM_UP, max(1, steps // 10))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


@dataclass(frozen=True, eq=False)
class _Seen:
    """One look at an example: what the part that is not trained says, and the targets."""

    buffers: dict[int, Tensor]
    target: Tensor


def _look(network: StudentNetwork, learned: Sequence[Example]) -> list[tuple[_Seen, _Seen]]:
    """Return two looks at every example: as it is, and mirrored."""
    network.eval()
    return [
        (
            _seen(network, item.planes, item.target),
            _seen(network, item.planes[..., ::-1], item.target[..., ::-1]),
        )
        for item in learned
    ]


def _seen(
    network: StudentNetwork, planes: npt.NDArray[np.float16], target: npt.NDArray[np.float32]
) -> _Seen:
    with torch.no_grad():
        found = network.base(torch.from_numpy(planes.astype(np.float32)[None]))
    buffers = {i: value[0].half() for i, value in found.items()}
    return _Seen(buffers, torch.from_numpy(target.copy()))


def _batch(
    looks: Sequence[tuple[_Seen, _Seen]], plan: TrainingPlan, step: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Return what the trained part sees in a step, and targets: of pictures of one shape."""
    random = np.random.default_rng((plan.seed, step))
    first = looks[int(random.integers(len(looks)))][0]
    like = [item for item in looks if item[0].target.shape == first.target.shape]
    chosen = random.permutation(len(like))[: plan.batch]
    seen = [like[i][int(random.integers(2))] for i in chosen]
    buffers = {
        i: torch.stack([item.buffers[i] for item in seen])
        .float()
        .contiguous(memory_format=torch.channels_last)
        for i in first.buffers
    }
    return buffers, torch.stack([item.target for item in seen])


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
