"""Training that repeats bit for bit on one machine, also when it is interrupted."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from idse.errors import InputError, ModelError, describe
from idse.files import write_atomically
from idse.learned.vae import losses
from idse.learned.vae.networks import Coded, Quantiser, VaeConfig, build
from idse.learned.vae.schedule import CLIP, draw_steps, learning_rate
from idse.learned.vae.start import start_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from idse.learned.vae.data import Crops, Photographs
    from idse.learned.vae.networks import FactorisedVae, HyperpriorVae
    from idse.learned.vae.rate_control import TargetRate

_NOISE_STREAM = 1
# What a network starts from: crops that no iteration draws.
_START_CROPS, _START = 64, 1 << 40


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What makes a run repeatable; a checkpoint goes on only under the plan it was made with.

    Attributes
    ----------
    model
        The network.
    iterations, batch, learning_rate, seed
        Of Adam; the rate rises over 50 iterations and falls as a cosine to a fiftieth.
    quantiser
        What stands for rounding, see `Vae.code`.
    coarsest, finest
        Quantisation steps: each crop draws its own, uniformly in the logarithm. Equal: one rate.
    multiplier
        Lambda at step 1, for squared errors in code values; elsewhere divided by step^2.
    """

    model: VaeConfig = field(default_factory=VaeConfig)
    iterations: int
    batch: int = 8
    learning_rate: float = 1e-3
    seed: int = 0
    quantiser: Quantiser = "mixed"
    finest: float = 1.0
    coarsest: float = 1.0
    multiplier: float = 0.2

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch < 1:
            raise InputError(f"{self.iterations} iterations of {self.batch} crops: at least 1 of 1")
        if not 0 < self.finest <= self.coarsest:
            raise InputError(f"steps {self.finest} to {self.coarsest}: above 0, the finest first")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One iteration's figures: means over its crops."""

    iteration: int
    loss: float
    distortion: float
    rate: float
    rounded_rate: float
    parameter: float | None
    beta: float | None
    seconds: float

    def __str__(self) -> str:
        """Return one line."""
        text = (
            f"{self.iteration:7d}  loss {self.loss:9.4f}  mse {self.distortion:8.2f}  "
            f"bpp {self.rate:.4f}  rounded {self.rounded_rate:.4f}"
        )
        if self.parameter is not None:
            text += f"  R_param {self.parameter:.4f}  beta {self.beta:.0f}"
        return f"{text}  {self.seconds:.0f} s"


class Trainer:
    """One run.

    Parameters
    ----------
    plan
        What to do.
    photographs
        Where crops come from; their side must be a multiple of the network's unit.
    control
        Of the target-rate loss; None minimises rate + lambda distortion instead.
    start
        Weights to begin with, of a network of the same plan; by default those of
        `idse.learned.vae.start`.
    device
        ``"cpu"`` or any other of torch.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        photographs: Photographs,
        *,
        control: TargetRate | None = None,
        start: dict[str, Tensor] | None = None,
        device: str = "cpu",
    ) -> None:
        self.plan, self.control = plan, control
        self._photographs, self._device = photographs, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            network = build(plan.model)
        if photographs.side % network.unit:
            raise InputError(
                f"crops of {photographs.side} samples: use a multiple of {network.unit}"
            )
        if start is not None:
            network.load_state_dict(start)
        else:
            start_from(network, photographs.draw(_START_CROPS, seed=(plan.seed, _START)).pictures)
        self.network = network.to(self._device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        trained = [p for p in self.network.parameters() if p.requires_grad]
        self._optimiser = torch.optim.Adam(trained, lr=plan.learning_rate)
        self.iteration = 0

    def run(
        self,
        *,
        checkpoint: Path | None = None,
        every: int = 500,
        report: Callable[[Progress], None] | None = None,
        until: int | None = None,
    ) -> None:
        """Train until the plan's end.

        Parameters
        ----------
        checkpoint
            Written every ``every`` iterations and at the end, and gone on from where it exists.
        every
            Iterations between two checkpoints.
        report
            Is told of every iteration.
        until
            Stop there instead.

        Raises
        ------
        ModelError
            The checkpoint is damaged or of another plan, or the loss is no longer finite.
        OutputError
            The checkpoint cannot be written.
        """
        if checkpoint is not None and checkpoint.exists():
            self.load(checkpoint)
        end = self.plan.iterations if until is None else min(until, self.plan.iterations)
        begin = time.monotonic()
        while self.iteration < end:
            progress = self.advance(begin)
            if report is not None:
                report(progress)
            if checkpoint is not None and (self.iteration % every == 0 or self.iteration == end):
                self.save(checkpoint)

    def advance(self, begin: float) -> Progress:
        """Do one iteration; ``begin`` is the `time.monotonic` that seconds are counted from."""
        plan, index = self.plan, self.iteration
        crops = self._photographs.draw(plan.batch, seed=(plan.seed, index))
        noise = torch.Generator().manual_seed(_mixed_seed(plan.seed, index))
        step = draw_steps(self.plan, noise).to(self._device)
        pictures = crops.pictures.to(self._device, memory_format=torch.channels_last)
        coded = self.network.code(pictures, step, quantiser=plan.quantiser, generator=noise)
        area = pictures.shape[-2] * pictures.shape[-1]
        distortion = self._distortion(crops, pictures, coded)
        loss = self._loss(coded.bits / area, distortion, step)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(f"the loss is {value} at iteration {index}: lower the learning rate")
        self._descend(loss)
        rates = (coded.bits.detach() / area).tolist()
        rounded = (coded.rounded_bits / area).tolist()
        control = self.control
        progress = Progress(
            iteration=index,
            loss=value,
            distortion=float(distortion.detach().mean()),
            rate=sum(rates) / len(rates),
            rounded_rate=sum(rounded) / len(rounded),
            parameter=control.parameter if control else None,
            beta=control.beta if control else None,
            seconds=time.monotonic() - begin,
        )
        if control is not None:
            control.observe(rates, rounded)
        self.iteration += 1
        return progress

    def _distortion(self, crops: Crops, pictures: Tensor, coded: Coded) -> Tensor:
        if crops.weights is None:
            return losses.squared_error(pictures, coded.decoded)
        return losses.weighted_error(pictures, coded.decoded, crops.weights.to(self._device))

    def _loss(self, rate: Tensor, distortion: Tensor, step: Tensor) -> Tensor:
        if self.control is not None:
            return losses.target_rate(
                rate, distortion, parameter=self.control.parameter, beta=self.control.beta
            )
        return losses.rate_distortion(rate, distortion, step, multiplier=self.plan.multiplier)

    def _descend(self, loss: Tensor) -> None:
        rate = learning_rate(self.plan, self.iteration)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.control is None:
            nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self._optimiser.step()

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(
            {
                "plan": _plan_text(self.plan),
                "iteration": self.iteration,
                "network": self.network.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "control": self.control.state() if self.control else None,
            },
            buffer,
        )
        write_atomically(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        ModelError
            It is damaged, or belongs to another plan.
        """
        state = read_checkpoint(path)
        if state["plan"] != _plan_text(self.plan):
            raise ModelError(f"{path} is of another plan ({state['plan']}): name another file")
        if (state["control"] is None) != (self.control is None):
            raise ModelError(f"{path} was trained with another loss: name another file")
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self.control is not None:
            self.control.restore(state["control"])
        self.iteration = state["iteration"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, nothing in it is executed.

    Returns
    -------
    dict
        ``plan`` (JSON), ``iteration``, ``network`` and ``optimiser`` (state dicts), ``control``.

    Raises
    ------
    ModelError
        It is damaged or no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path} is no checkpoint: {describe(error)}") from error
    if not isinstance(state, dict) or not {"plan", "iteration", "network"} <= state.keys():
        raise ModelError(f"{path} is no checkpoint of a codec's training")
    return state


def _plan_text(plan: TrainingPlan) -> str:
    return json.dumps(asdict(plan), sort_keys=True)


def _mixed_seed(seed: int, iteration: int) -> int:
    """Return a seed that no other iteration or run shares."""
    return (seed << 32) + (iteration << 1) + _NOISE_STREAM


def trained_network(state: dict[str, Any]) -> FactorisedVae | HyperpriorVae:
    """Return the network of a checkpoint that was read."""
    network = build(VaeConfig(**json.loads(state["plan"])["model"]))
    network.load_state_dict(state["network"])
    return network
