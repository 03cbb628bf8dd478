"""Tables learned once for all images, written by libjpeg-turbo: two ideas of others.

Both look at a network's gradients on a training set and know nothing of the image that they encode:

- ``luo``, after X. Luo, H. Talebi, F. Yang, M. Elad and P. Milanfar, "The Rate-Distortion-Accuracy
  Tradeoff: JPEG Case Study" (DCC 2021): one table that costs the training set the least for its
  rate. Theirs comes from descent through a model of JPEG; here from what that descends to where
  steps are fine: ``q_k ~ E[g_k^2]^(-1/2)``, the mean over blocks of all training images.
- ``grace``, after X. Xie and K.-H. Kim, "Source Compression with Bounded DNN Perception Loss for
  IoT Edge Computer Vision" (MobiCom 2019): a bound on the loss is shared out evenly over
  frequencies by their mean absolute gradient, ``q_k ~ 1 / E[|g_k|]``.

The training set is what the selection of a source left out (of even images the odd ones), else the
source itself.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.evaluation.coders.base import Analysis, parser
from idse.evaluation.coders.libjpeg_turbo import pillow_version, save
from idse.evaluation.coders.still_jpeg import SingleJpeg
from idse.evaluation.fingerprint import code_digest, model_digest
from idse.evaluation.pixels import jfif_picture
from idse.evaluation.sources import Images
from idse.picture import Picture
from idse.vision import EXACT_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idse.evaluation.pixels import RGB
    from idse.evaluation.sources import Source

_COMPONENTS = ("y", "cb", "cr")
# Images that a table is learned from: with more of them it no longer changes.
_TRAINED_ON = 32
_CODE = ("vision", "importance", "evaluation/pixels.py", "evaluation/coders/fixed_tables.py")
# The geometric mean of the standard's luma steps over the lowest five diagonals: a learned table of
# quality 50 has the same.
_STANDARD = 14.7
_LOW = np.add.outer(np.arange(8), np.arange(8)) < 5


@dataclass(frozen=True, kw_only=True)
class FixedTables(SingleJpeg):
    """Options: ``--model yolov4-tiny``, ``--exponent 1``, ``--sampling 4:2:0``, ``--progressive``.

    Attributes
    ----------
    model
        The network whose gradients count.
    exponent
        Of the rule of the idea: 0 is flat tables, 1 the rule itself.
    sampling
        Of chroma.
    progressive
        Whether files are.
    """

    rates: ClassVar = (10.0, 18.0, 30.0, 45.0, 60.0, 75.0, 88.0)

    model: str
    exponent: float
    sampling: str
    progressive: bool

    @classmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read the options."""
        known = parser(cls.codec)
        known.add_argument("--model", default=EXACT_MODEL)
        known.add_argument("--exponent", type=float, default=1.0)
        known.add_argument("--sampling", choices=("4:2:0", "4:4:4"), default="4:2:0")
        known.add_argument("--progressive", action="store_true")
        found = cls(**vars(known.parse_args(words)))
        if not 0 <= found.exponent <= 2:
            raise InputError(f"exponent {found.exponent:g} must be a number from 0 to 2")
        return found

    @classmethod
    def version(cls) -> str:
        """Return the versions of Pillow and of its libjpeg-turbo."""
        return pillow_version()

    def key(self, source: Source) -> tuple[str, ...]:
        """Return hashes of library, code, network and training set."""
        assert isinstance(source, Images)  # `check` lets nothing else through
        return *super().key(source), *self.analysis_key(source)

    def analysis_key(self, source: Images) -> tuple[str, ...]:
        """Return hashes of network, code and training set."""
        own = self.codec, self.sampling, code_digest(_CODE), model_digest(self.model)
        return *own, training_set(source).key

    def analyse(self, source: Images) -> Analysis:
        """Learn: return for Y, Cb and Cr the gradient of every frequency, float64 ``(8, 8)``."""
        from idse.importance import Analyser, load_networks

        analyser = Analyser(load_networks([self.model]))
        totals = {name: np.zeros((8, 8)) for name in _COMPONENTS}
        images = training_set(source).pixels()
        for index, rgb in enumerate(images):
            weights = analyser.coefficients(sampled_picture(rgb, index, self.sampling))
            for name, blocks in zip(_COMPONENTS, weights, strict=True):
                totals[name] += self.mean(blocks)
        return {name: self.gradient(total / len(images)) for name, total in totals.items()}

    @staticmethod
    @abstractmethod
    def mean(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return of squared gradients ``(rows, columns, 8, 8)`` the mean that the idea looks at."""

    @staticmethod
    @abstractmethod
    def gradient(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the gradient that stands for a mean over the training set."""

    def encode_one(
        self, rgb: RGB, number: int, analysis: Mapping[str, npt.NDArray[np.float64]]
    ) -> bytes:
        """Encode by the same tables as every other image."""
        tables = scaled(self.steps(analysis), number)
        return save(rgb, sampling=self.sampling, progressive=self.progressive, tables=tables)

    def steps(
        self, gradients: Mapping[str, npt.NDArray[np.float64]]
    ) -> list[npt.NDArray[np.float64]]:
        """Return the steps of Y, Cb and Cr at quality 50."""
        steps = [np.maximum(gradients[name], 1e-30) ** -self.exponent for name in _COMPONENTS]
        factor = _STANDARD / np.exp(np.log(steps[0][_LOW]).mean())
        return [step * factor for step in steps]


class Luo(FixedTables):
    """Steps by the mean square of gradients."""

    codec: ClassVar = "luo"

    @staticmethod
    def mean(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the mean square."""
        return np.asarray(weights.mean((0, 1), dtype=np.float64))

    @staticmethod
    def gradient(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return its root."""
        return np.sqrt(mean)


class Grace(FixedTables):
    """Steps by the mean absolute gradient."""

    codec: ClassVar = "grace"

    @staticmethod
    def mean(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the mean absolute value: a sketch's rows add up to it but for a constant."""
        return np.asarray(np.sqrt(weights).mean((0, 1), dtype=np.float64))

    @staticmethod
    def gradient(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return it as it is."""
        return mean


def training_set(source: Images) -> Images:
    """Return what tables for a source are learned from."""
    paths = source.others or source.paths
    step = -(-len(paths) // _TRAINED_ON)
    return replace(source, paths=paths[::step], filter="", others=())


def sampled_picture(rgb: RGB, index: int, sampling: str) -> Picture:
    """Return an image as JFIF's Y'CbCr, in 4:4:4 or with chroma averaged to 4:2:0."""
    whole = jfif_picture(rgb, index)
    if sampling == "4:4:4":
        return whole
    form = replace(whole.format, pix_fmt="yuvj420p", siting="center")
    y, *chroma = whole.planes
    rows, columns = form.chroma_shape
    halved = []
    for plane in chroma:
        even = np.pad(plane, ((0, 2 * rows - form.height), (0, 2 * columns - form.width)), "edge")
        mean = even.reshape(rows, 2, columns, 2).mean((1, 3))
        halved.append(np.rint(mean).astype(np.uint8))
    return Picture(planes=(y, halved[0], halved[1]), format=form, index=index)


def scaled(steps: Sequence[npt.NDArray[np.float64]], number: int) -> list[npt.NDArray[np.uint8]]:
    """Return tables of a quality, which scales steps as libjpeg does, within a baseline file."""
    factor = 50 / number if number < 50 else 2 - number / 50
    return [np.clip(np.rint(step * factor), 1, 255).astype(np.uint8) for step in steps]
