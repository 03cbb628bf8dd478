"""Features extracted block by block, as the "block FD" that IDSE is compared with has them.

H. Choi and I. Bajic's metric, as the IDSE paper's Table V evaluates it: every block is a picture of
its own to the network, so what lies around it has no say. Here only where the features come from
differs from the default steering; use it as ``--model idse.evaluation.blockwise:yolov4_tiny_32``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from idse.errors import InputError
from idse.vision import load_model
from idse.vision.extractor import FeatureExtractor


class Blockwise(nn.Module):
    """A network that is run on every block of its input by itself.

    Parameters
    ----------
    extractor
        The network with its features.
    side
        Rows and columns of a block, in samples of the network's input; edges are repeated to whole
        blocks.

    Raises
    ------
    InputError
        The side is not positive, or not a multiple of the network's stride.
    """

    def __init__(self, extractor: FeatureExtractor, side: int) -> None:
        super().__init__()
        if side < 1 or side % (extractor.stride or 1):
            raise InputError(
                f"blocks of {side} are not a multiple of {extractor.name}'s stride "
                f"{extractor.stride or 1}"
            )
        self.network = extractor.module
        self._extractor = extractor
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of all blocks of ``x`` (n, 3, h, w): ``(n, blocks * n_f)``."""
        count, side = len(x), self.side
        rows, columns = (-size % side for size in x.shape[-2:])
        x = functional.pad(x, (0, columns, 0, rows), mode="replicate")
        blocks = x.unfold(2, side, side).unfold(3, side, side)
        blocks = blocks.permute(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1], side, side)
        return self._extractor.features(blocks).reshape(count, -1)


def blockwise(extractor: FeatureExtractor, side: int) -> FeatureExtractor:
    """Return an extractor of the same network's features, block by block, without its task.

    Raises
    ------
    InputError
        As :class:`Blockwise`.
    """
    normal = extractor.normalisation
    return FeatureExtractor(
        Blockwise(extractor, side),
        size=extractor.size,
        mean=normal.mean,
        std=normal.std,
        channels=normal.channels,
        fit=extractor.fit,
        stride=extractor.stride,
        pad=normal.pad,
        name=f"{extractor.name} in blocks of {side}",
    )


def yolov4_tiny_32() -> FeatureExtractor:
    """Return yolov4-tiny in blocks of 32 samples of its input, the least that it takes."""
    return blockwise(load_model("yolov4-tiny"), 32)


def yolov4_tiny_128() -> FeatureExtractor:
    """Return yolov4-tiny in blocks of 128 samples of its input."""
    return blockwise(load_model("yolov4-tiny"), 128)
