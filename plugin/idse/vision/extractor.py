"""A network with everything needed to feed it pictures and to read features from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from idse.errors import InputError, ModelError
from idse.picture import Picture, PictureFormat
from idse.vision import geometry as placement
from idse.vision import preprocess
from idse.vision.heads import Classification, Detections, TaskHead

if TYPE_CHECKING:
    from idse.vision.geometry import Geometry

RGB = npt.NDArray[np.uint8]

# Pictures of one size that run together in detect and classify: bounds the memory, and larger
# batches are no faster on a CPU.
_BATCH = 8


class _Reached(Exception):  # noqa: N818 (control flow, not an error)
    """Raised by the hook: the wanted layer has run, what follows is not needed."""


class FeatureExtractor:
    """Features of pictures, differentiable down to the decoded planes' code values.

    Parameters
    ----------
    module
        Any network that takes ``(n, 3, h, w)``. It is taken over: put into evaluation mode, and
        its parameters stop requiring gradients (only the input's are ever needed).
    layer
        Name of a submodule (as in ``module.named_modules()``) whose output is the feature. By
        default the features come from the module's output.
    size
        Rows and columns of the network's input; where ``stride`` is given, their upper bounds.
    mean, std, channels
        input = (rgb - mean) / std with R'G'B' in 0..1, in the order of ``channels``
        (``"rgb"`` or ``"bgr"``).
    fit
        ``"letterbox"`` keeps the picture's aspect ratio and pads with grey, ``"stretch"`` fills
        the input.
    stride
        For networks that take any multiple of it: a letterbox then pads no further than needed.
    pad
        Grey level of the padding, 0..1.
    features
        Maps the module's output to features: tensors are flattened per picture and concatenated.
        Default: the output itself. Ignored where ``layer`` is given.
    head
        What the module's output means (``Boxes`` or ``Top1``), for :meth:`detect` and
        :meth:`classify`.
    name
        For reports and error messages.

    Raises
    ------
    ModelError
        There is no such layer.
    InputError
        A size, mean, std, fit or channel order that makes no sense.

    Examples
    --------
    >>> network = FeatureExtractor(my_module, layer="backbone.stage3", size=(256, 256),
    ...                            mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    >>> y, cb, cr = planes_to_tensors(picture)
    >>> f = network.features(network.to_input(y, cb, cr, picture.format))
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        size: tuple[int, int],
        layer: str | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        channels: str = "rgb",
        fit: str = "letterbox",
        stride: int | None = None,
        pad: float = 0.5,
        features: Callable[[Any], Any] | None = None,
        head: TaskHead | None = None,
        name: str | None = None,
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise InputError(f"network input size {size} must be two positive numbers")
        if fit not in placement.FITS:
            raise InputError(f"fit {fit!r} is not one of {', '.join(placement.FITS)}")
        if stride is not None and (stride < 1 or size[0] % stride or size[1] % stride):
            raise InputError(f"network input size {size} must be a multiple of {stride}")
        self.module = module.eval().requires_grad_(requires_grad=False)
        self.size = (int(size[0]), int(size[1]))
        self.fit = fit
        self.stride = stride
        self.normalisation = preprocess.Normalisation(
            mean=_triple(mean), std=_triple(std), channels=channels, pad=pad
        )
        self.head = head
        self.name = name if name is not None else type(module).__name__
        self._features = features
        self.layer = layer
        if layer is not None:
            self._submodule(layer)

    @property
    def layers(self) -> list[str]:
        """Names that ``layer`` may take."""
        return [name for name, _ in self.module.named_modules() if name]

    def at_layer(self, layer: str) -> FeatureExtractor:
        """Return an extractor of the same network whose features are the output of ``layer``."""
        other = object.__new__(FeatureExtractor)
        other.__dict__.update(self.__dict__)
        other.layer = layer
        other.name = f"{self.name}@{layer}"
        other._submodule(layer)
        return other

    def _submodule(self, layer: str) -> nn.Module:
        modules: dict[str, nn.Module] = dict(self.module.named_modules())
        if layer and layer in modules:
            return modules[layer]
        names = self.layers
        close = difflib.get_close_matches(layer, names, n=5, cutoff=0.4) or names[-5:]
        hint = f"close names: {', '.join(close)}" if names else "the network has no named layers"
        raise ModelError(f"{self.name} has no layer {layer!r} ({len(names)} layers; {hint})")

    # Preprocessing -------------------------------------------------------------------------

    def geometry(self, fmt: PictureFormat) -> Geometry:
        """Return where pictures of ``fmt`` land in the network's input."""
        return self._place(fmt.width, fmt.height, fmt.rotation)

    def shrink(self, y: Tensor, cb: Tensor, cr: Tensor, fmt: PictureFormat) -> Tensor:
        """Resize planes to ``(n, 3, rows, columns)`` code values: the linear half of the input.

        ``to_input(...) == finish(shrink(...))``; the transpose is :meth:`shrink_transposed`.
        """
        return preprocess.shrink(y, cb, cr, fmt, self.geometry(fmt))

    def finish(self, ycbcr: Tensor, fmt: PictureFormat) -> Tensor:
        """Make the network's input ``(n, 3, h, w)`` of what :meth:`shrink` returned."""
        return preprocess.finish(ycbcr, fmt, self.geometry(fmt), self.normalisation)

    def shrink_transposed(self, g: Tensor, fmt: PictureFormat) -> tuple[Tensor, Tensor, Tensor]:
        """Carry gradients with respect to :meth:`shrink`'s result to Y, Cb and Cr samples."""
        return preprocess.shrink_transposed(g, fmt, self.geometry(fmt))

    def to_input(self, y: Tensor, cb: Tensor, cr: Tensor, fmt: PictureFormat) -> Tensor:
        """Make the network's input from planes of code values, differentiably.

        Parameters
        ----------
        y, cb, cr
            Floating point, ``(n, 1, height, width)`` and twice ``(n, 1, *fmt.chroma_shape)``,
            code values of the picture's own depth and range.
        fmt
            How to read them: matrix, range, transfer, rotation.

        Returns
        -------
        ``(n, 3, h, w)``, normalised. ``(h, w)`` is ``self.size``, or less where ``stride`` lets
        a letterbox stop early. SDR colours outside 0..1 are not clipped, so that the map is affine
        and its Jacobian exact.
        """
        return self.finish(self.shrink(y, cb, cr, fmt), fmt)

    def from_rgb(self, rgb: RGB) -> Tensor:
        """Make the network's input ``(1, 3, h, w)`` from an image, uint8 ``(height, width, 3)``."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise InputError(
                f"an image must be uint8 (rows, columns, 3), got {rgb.dtype} {rgb.shape}"
            )
        place = self._rgb_geometry(rgb)
        x = preprocess.rgb_to_input(rgb, place, self.normalisation)
        return x.to(**self._placement())

    def from_picture(self, picture: Picture) -> Tensor:
        """Make the network's input ``(1, 3, h, w)`` from a decoded picture."""
        planes = preprocess.planes_to_tensors(picture)
        y, cb, cr = (plane.to(**self._placement()) for plane in planes)
        return self.to_input(y, cb, cr, picture.format)

    def _place(self, width: int, height: int, rotation: int = 0) -> Geometry:
        return placement.place(
            width, height, rotation=rotation, size=self.size, fit=self.fit, stride=self.stride
        )

    def _rgb_geometry(self, rgb: RGB) -> Geometry:
        height, width = rgb.shape[:2]
        return self._place(width, height)

    def _placement(self) -> dict[str, Any]:
        """Device and dtype of the network."""
        parameter = next(self.module.parameters(), None)
        if parameter is None:
            return {"dtype": torch.float32}
        return {"device": parameter.device, "dtype": parameter.dtype}

    # Network -------------------------------------------------------------------------------

    def features(self, x: Tensor) -> Tensor:
        """Return the features ``(n, n_f)`` of the network's input ``x`` (n, 3, h, w)."""
        if self.layer is not None:
            return flatten(self._at_layer(x, self.layer))
        output = self.module(x)
        return flatten(output if self._features is None else self._features(output))

    def _at_layer(self, x: Tensor, layer: str) -> Any:  # noqa: ANN401
        found: list[Any] = []

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:  # noqa: ANN401
            found.append(output)
            raise _Reached

        handle = self._submodule(layer).register_forward_hook(hook)
        try:
            self.module(x)
        except _Reached:
            return found[0]
        finally:
            handle.remove()
        raise ModelError(f"layer {layer!r} of {self.name} does not run in a forward pass")

    def detect(self, pictures: Iterable[Picture | RGB]) -> list[Detections]:
        """Find objects in decoded pictures or uint8 RGB images; needs a ``Boxes`` head."""
        return self._task(pictures, Detections)

    def classify(self, pictures: Iterable[Picture | RGB]) -> list[Classification]:
        """Classify decoded pictures or uint8 RGB images; needs a ``Top1`` head."""
        return self._task(pictures, Classification)

    def _task(self, pictures: Iterable[Picture | RGB], kind: type[Any]) -> list[Any]:
        results: list[Any] = []
        batch: list[tuple[Tensor, Geometry]] = []
        for picture in pictures:
            if isinstance(picture, Picture):
                x, place = self.from_picture(picture), self.geometry(picture.format)
            else:
                x, place = self.from_rgb(picture), self._rgb_geometry(picture)
            if batch and (len(batch) == _BATCH or batch[0][0].shape != x.shape):
                results += self._decode(batch)
                batch = []
            batch.append((x, place))
        results += self._decode(batch) if batch else []
        for result in results:
            if not isinstance(result, kind):
                raise ModelError(
                    f"{self.name} returns {type(result).__name__}, not {kind.__name__}"
                )
        return results

    def _decode(self, batch: list[tuple[Tensor, Geometry]]) -> list[Any]:
        if self.head is None:
            raise ModelError(f"{self.name} has no task head: give FeatureExtractor head=...")
        with torch.inference_mode():
            output = self.module(torch.cat([x for x, _ in batch]))
        return self.head.decode(output, [place for _, place in batch])


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) != 3:
        raise InputError(f"mean and std need 3 values each, got {tuple(values)}")
    return float(values[0]), float(values[1]), float(values[2])


def flatten(output: Any) -> Tensor:  # noqa: ANN401
    """Concatenate the floating-point tensors of a nested output per picture: ``(n, n_f)``."""
    tensors = list(_tensors(output))
    if not tensors:
        raise ModelError(f"the network's output {type(output).__name__} holds no real tensor")
    return torch.cat([t.reshape(len(t), -1) for t in tensors], dim=1)


def _tensors(output: Any) -> Any:  # noqa: ANN401
    if isinstance(output, Tensor):
        if output.is_floating_point() and output.ndim:
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)
