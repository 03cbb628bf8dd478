"""Differentiable JPEG against libjpeg-turbo, and what its gradients are good for.

Tables 5.1 to 5.4 of Reich, "Deep Image Codec Control". Kodak is coded whole; attacks are on 224x224
crops of odd imagenet pictures against efficientnet-lite0, judged through libjpeg-turbo.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_common import command_line, data, machine
from control_data import Store, array, crop, labels, network, normalised, odd, pixels, tensor
from scipy.ndimage import gaussian_filter

from idse.codecs import jpeg
from idse.evaluation.table import markdown_table, write_results
from idse.learned.jpeg import differentiable
from idse.learned.jpeg.discrete import STRAIGHT_THROUGH, SURROGATE, StraightThrough, Surrogate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from torch import Tensor

    Coder = Callable[[Tensor, Tensor, Tensor], Tensor]

STRONG = tuple(range(1, 11))
WEAK = tuple(range(11, 100, 4))
FEW_STRONG, FEW_WEAK = (1, 3, 5, 8, 10), (15, 45, 75)
ATTACKED_STRONG, ATTACKED_WEAK = (5,), (50,)
ITERATIONS = 10
# Iterations and epsilon.
ATTACKS = ((1, 3), (1, 9), (ITERATIONS, 3))


class ConstantGradient(StraightThrough):
    """The straight-through estimator as others have it: every step has a gradient of 1."""

    def round(self, x: Tensor) -> Tensor:
        return x + (x.detach().round() - x.detach())

    def floor(self, x: Tensor) -> Tensor:
        return x + (x.detach().floor() - x.detach())

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        return x + (x.detach().clamp(low, high) - x.detach())


@dataclass(frozen=True)
class Ours:
    discrete: Surrogate

    def __call__(self, batch: Tensor, quality: Tensor, base: Tensor) -> Tensor:
        tables = differentiable.quality_tables(quality, base=base, discrete=self.discrete)
        return differentiable.code(batch, tables, discrete=self.discrete).pixels


def coders() -> dict[str, Coder]:
    found: dict[str, Coder] = {
        "surrogate": Ours(SURROGATE),
        "straight-through": Ours(STRAIGHT_THROUGH),
        "straight-through, gradient 1": Ours(ConstantGradient()),
    }
    try:
        from kornia.enhance import jpeg_codec_differentiable
    except ImportError:
        return found

    def kornia(batch: Tensor, quality: Tensor, base: Tensor) -> Tensor:
        coded = jpeg_codec_differentiable(batch / 255, quality, base[:1], base[1:])
        return 255 * coded

    return found | {"kornia 0.9": kornia}


def similarity(one: np.ndarray, two: np.ndarray) -> float:
    """SSIM of colour pictures: Gaussian windows of 11, sigma 1.5, the channels' mean."""

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x.astype(np.float32), (1.5, 1.5, 0), radius=5)[5:-5, 5:-5]

    a, b = mean(one), mean(two)
    va, vb, both = mean(one**2) - a * a, mean(two**2) - b * b, mean(one * two) - a * b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * a * b + c1) * (2 * both + c2) / ((a * a + b * b + c1) * (va + vb + c2))
    return float(found.mean())


def accuracy(coder: Coder, picture: np.ndarray, quality: int) -> list[float]:
    reference = jpeg.decode(jpeg.encode(picture, quality=quality)).astype(np.float64)
    with torch.no_grad():
        coded = coder(tensor(picture), torch.tensor([float(quality)]), base_tables())
    found = array(coded).clip(0, 255)
    error = np.mean((found - reference) ** 2)
    return [similarity(found, reference), 10 * np.log10(255**2 / error)]


def base_tables() -> Tensor:
    return differentiable.standard_tables()


def norms(coder: Coder, picture: np.ndarray, quality: int) -> list[float]:
    """Norms of the gradient where the result is libjpeg's own, which is where it should vanish."""
    reference = tensor(jpeg.decode(jpeg.encode(picture, quality=quality)))
    asked = torch.tensor([float(quality)], requires_grad=True)
    base = base_tables().requires_grad_()
    (coder(tensor(picture), asked, base) - reference).abs().mean().backward()
    return [float(asked.grad.norm()), float(base.grad.norm())]


def attacked(
    coder: Coder, picture: np.ndarray, label: int, quality: int, epsilon: int, steps: int
) -> list[bool]:
    """Attack through a differentiable JPEG, and classify what libjpeg-turbo makes of the result."""
    extractor = network("efficientnet-lite0")
    found = source = tensor(picture)
    for _ in range(steps):
        found = found.detach().requires_grad_()
        coded = coder(found, torch.tensor([float(quality)]), base_tables())
        scores = extractor.module(normalised(extractor, coded))
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor([label]))
        (slope,) = torch.autograd.grad(loss, found)
        found = (found.detach() + epsilon / steps * slope.sign()).clamp(0, 255)
        found = source + (found - source).clamp(-epsilon, epsilon)
    return classified(found, label, quality)


def classified(batch: Tensor, label: int, quality: int) -> list[bool]:
    picture = np.rint(array(batch)).astype(np.uint8)
    coded = tensor(jpeg.decode(jpeg.encode(picture, quality=quality)))
    extractor = network("efficientnet-lite0")
    with torch.no_grad():
        best = extractor.module(normalised(extractor, coded))[0].topk(5).indices.tolist()
    return [best[0] == label, label in best]


def over(values: dict[int, list[list[float]]]) -> list[np.ndarray]:
    """Return means over qualities 1-99, 1-10 and 11-99, those that were left out as their peers."""
    means = {quality: np.mean(found, 0) for quality, found in values.items()}
    strong = np.mean([m for q, m in means.items() if q <= 10], 0)
    weak = np.mean([m for q, m in means.items() if q > 10], 0)
    return [(10 * strong + 89 * weak) / 99, strong, weak]


def gather(
    store: Store, name: str, qualities: tuple[int, ...], items: list, measure: Callable
) -> list[np.ndarray]:
    values: dict[int, list] = {quality: [] for quality in qualities}
    for item in items:
        for quality in qualities:
            key = f"{name}/{item}/{quality}"
            values[quality].append(store.get(key, lambda i=item, q=quality: measure(i, q)))
        print(f"\r{name} {item}   ", end="", file=sys.stderr, flush=True)
    return over(values)


def columns(found: list[np.ndarray], index: int, form: str, factor: float = 1) -> list[str]:
    return [f"{factor * float(values[index]):{form}}" for values in found]


def run(args: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    store = Store("jpeg-forward")
    kodak = {path.name: path for path in sorted(data("kodak").glob("*.png"))}
    kodak = dict(list(kodak.items())[: 1 if args.quick else None])
    known = coders()
    parts = ["# Differentiable JPEG", f"`{command_line()}`"]
    results: dict[str, object] = {}
    rows = []
    for name, coder in known.items():
        if "gradient" in name:  # its forward function is the other's
            continue

        def measure(item: str, quality: int, coder: Coder = coder) -> list[float]:
            return accuracy(coder, pixels(kodak[item]), quality)

        items = list(kodak) if isinstance(coder, Ours) else list(kodak)[:6]
        found = gather(store, f"forward/{name}", STRONG + WEAK, items, measure)
        results[f"forward/{name}"] = [values.tolist() for values in found]
        rows.append([name, *columns(found, 0, ".4f"), *columns(found, 1, ".2f")])
    rows += [
        ["*published, surrogate*", "0.991", "0.987", "0.992", "42.60", "38.28", "43.14"],
        ["*published, straight-through*", "0.993", "0.993", "0.992", "43.49", "41.14", "43.78"],
    ]
    parts.append(
        f"## Against libjpeg-turbo (table 5.1)\n\n{len(kodak)} pictures of Kodak, 4:2:0, all of "
        f"qualities 1 to 10 and {len(WEAK)} of 11 to 99 (kornia: the first 6); published "
        "figures are for Set14.\n\n"
        + markdown_table(["", "SSIM 1-99", "1-10", "11-99", "PSNR 1-99, dB", "1-10", "11-99"], rows)
    )
    parts.append(_vanishing(store, kodak, known, results, quick=args.quick))
    return write(args, "jpeg_differentiable", parts, results)


def run_attacks(args: argparse.Namespace) -> int:
    torch.set_num_threads(1)
    results: dict[str, object] = {}
    count = 1 if args.quick else args.pictures
    told = _attacks(Store("jpeg-forward"), coders(), results, count=count)
    parts = ["# Attacks through differentiable JPEG", f"`{command_line()}`", told]
    return write(args, "jpeg_attacks", parts, results)


def write(args: argparse.Namespace, name: str, parts: list[str], results: dict) -> int:
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    kept = {"machine": machine(), "command": command_line(), "results": results}
    write_results(args.results / name, data=kept, markdown=text)
    print(text)
    return 0


def _vanishing(
    store: Store,
    kodak: dict,
    known: dict[str, Coder],
    results: dict[str, object],
    *,
    quick: bool,
) -> str:
    items = list(kodak)[:: 1 if quick else 6]
    rows = []
    for name, coder in known.items():

        def measure(item: str, quality: int, coder: Coder = coder) -> list[float]:
            return norms(coder, pixels(kodak[item]), quality)

        found = gather(store, f"norms/{name}", FEW_STRONG + FEW_WEAK, items, measure)
        results[f"norms/{name}"] = [values.tolist() for values in found]
        rows.append([name, *columns(found, 0, ".3f"), *columns(found, 1, ".3f")])
    rows += [
        ["*published, surrogate*", "0.022", "0.068", "0.017", "0.043", "0.030", "0.044"],
        ["*published, straight-through*", "0.014", "0.042", "0.010", "0.060", "0.162", "0.048"],
    ]
    return (
        "## Gradients where they should vanish (table 5.4)\n\nNorm of the gradient of the mean "
        "absolute difference to libjpeg's result, with respect to the quality and to the two "
        f"tables. {len(items)} pictures of Kodak, qualities "
        f"{', '.join(map(str, FEW_STRONG + FEW_WEAK))}.\n\n"
        + markdown_table(
            ["", "quality 1-99", "1-10", "11-99", "tables 1-99", "1-10", "11-99"], rows
        )
    )


def _attacks(
    store: Store, known: dict[str, Coder], results: dict[str, object], *, count: int
) -> str:
    paths = {path.name: path for path in odd("imagenet", count)}
    qualities = ATTACKED_STRONG + ATTACKED_WEAK

    def plain(item: str, quality: int) -> list[bool]:
        return classified(tensor(crop(paths[item])), labels()[item], quality)

    found = gather(store, "attack/none", qualities, list(paths), plain)
    results["attack/none"] = [values.tolist() for values in found]
    rows = [["no attack", *columns(found, 0, ".1f", 100), *columns(found, 1, ".1f", 100)]]
    for steps, epsilon in ATTACKS:
        told = "FGSM" if steps == 1 else "IFGSM"
        for name, coder in known.items():
            if not isinstance(coder, Ours):
                continue

            def measure(
                item: str, quality: int, coder: Coder = coder, e: int = epsilon, n: int = steps
            ) -> list[bool]:
                return attacked(coder, crop(paths[item]), labels()[item], quality, e, n)

            key = f"attack/{told}-{epsilon}/{name}"
            found = gather(store, key, qualities, list(paths), measure)
            results[key] = [values.tolist() for values in found]
            shown = [*columns(found, 0, ".1f", 100), *columns(found, 1, ".1f", 100)]
            rows.append([f"{told}, epsilon {epsilon}: {name}", *shown])
    return (
        "Tables 5.2 and 5.3. Accuracy of efficientnet-lite0 against true "
        f"labels, lower is better. {len(paths)} of the 125 odd pictures of imagenet, qualities "
        f"{', '.join(map(str, ATTACKED_STRONG + ATTACKED_WEAK))}; IFGSM "
        f"takes {ITERATIONS} steps. One picture more or less at all qualities is "
        f"{100 / len(paths):.1f} points.\n\n"
        + markdown_table(["%", "top-1 1-99", "1-10", "11-99", "top-5 1-99", "1-10", "11-99"], rows)
    )
