"""One way to name any network: built-in, ONNX file or Python factory, with an optional layer."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from idse.errors import ModelError
from idse.vision import classifiers, darknet, registry
from idse.vision.extractor import FeatureExtractor
from idse.vision.heads import Boxes, Top1

if TYPE_CHECKING:
    from collections.abc import Sequence

Size = int | tuple[int, int]


def load_model(
    spec: str,
    *,
    size: Size | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str | None = None,
    fit: str | None = None,
) -> FeatureExtractor:
    """Load a network.

    Parameters
    ----------
    spec
        ``"yolov4-tiny"``, ``"efficientnet-lite0"``, ``"efficientnet-lite1"``, ``"mobilenet_v2"``
        (downloaded on first use), a path that ends in ``.onnx``, or
        ``"package.module:factory"``, whose call without arguments returns a
        :class:`FeatureExtractor` or a ``torch.nn.Module``. ``@LAYER`` at the
        end takes the features from that layer.
    size
        Rows and columns of the network's input, or one number for a square. Defaults: 416 for
        yolov4-tiny (its letterbox stops at the next multiple of 32, so 16:9 video runs at
        416x256), 240 for efficientnet-lite1, 224 for the other classifiers, for ONNX what the
        graph says.
    mean, std, channels, fit
        As for :class:`FeatureExtractor`; only for ONNX files and factories that return a module.

    Raises
    ------
    ModelError
        Unknown model, a student (which is no network: `idse.learned.student.analyser.load_student`
        loads it), failed download, damaged file, unknown layer, or a factory that fails.
    MissingExtraError
        An ONNX file, and the package ``onnx`` is not installed.
    """
    # A path may hold an @ of its own: what follows the last one is a layer only beyond .onnx.
    plain = spec.endswith(".onnx") or "@" not in spec
    name, layer = (spec, "") if plain else spec.rsplit("@", 1)
    shape = (size, size) if isinstance(size, int) else size
    options = {"mean": mean, "std": std, "channels": channels, "fit": fit}
    given = {key: value for key, value in options.items() if value is not None}
    if name.endswith(".onnx"):
        from idse.vision.onnx_graph import load_onnx

        extractor: FeatureExtractor = load_onnx(name, size=shape, **given)
    elif ":" in name and not registry.is_student(spec):
        extractor = _from_factory(name, shape, given)
    else:
        if given:
            raise ModelError(f"{name} brings its own {', '.join(given)}: leave them out")
        extractor = _built_in(name, shape)
    return extractor.at_layer(layer) if layer else extractor


def _built_in(name: str, size: tuple[int, int] | None) -> FeatureExtractor:
    size = size or registry.find_model(name).size
    files = registry.model_files(name)
    if name == "yolov4-tiny":
        yolo = darknet.Darknet(files["yolov4-tiny.cfg"], files["yolov4-tiny.weights"])
        labels = tuple(files["coco.names"].read_text(encoding="utf-8").split("\n")[:80])
        return FeatureExtractor(
            # A fifth less time forward, a tenth less backward on a CPU.
            yolo.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            size=size,
            stride=yolo.stride,
            features=darknet.gated_features,
            head=Boxes(darknet.decode_boxes, labels=labels),
            name=name,
        )
    if name == "mobilenet_v2":
        network = classifiers.load_mobilenet_v2(files["mobilenet_v2.pth"])
        mean, std = classifiers.IMAGENET_MEAN, classifiers.IMAGENET_STD
    else:
        load = {
            "efficientnet-lite0": classifiers.load_lite0,
            "efficientnet-lite1": classifiers.load_lite1,
        }
        network = load[name](files[f"{name}.pth"])
        mean, std = classifiers.LITE_MEAN, classifiers.LITE_STD
    return FeatureExtractor(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        size=size,
        mean=mean,
        std=std,
        fit="stretch",
        features=classifiers.root_probabilities,
        head=Top1(),
        name=name,
    )


def _from_factory(
    name: str, size: tuple[int, int] | None, options: dict[str, Any]
) -> FeatureExtractor:
    module_name, _, attribute = name.partition(":")
    # As `python -m` does: a console script's path lacks the directory it is run from.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
        made = factory()
    # The factory is the user's code: whatever it raises becomes one clear line.
    except Exception as error:
        raise ModelError(f"model factory {name} failed: {type(error).__name__}: {error}") from error
    if isinstance(made, FeatureExtractor):
        if size is not None or options:
            raise ModelError(f"{name} returns a FeatureExtractor: it sets size and normalisation")
        return made
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{name} returned {type(made).__name__}, not a FeatureExtractor or torch.nn.Module"
        )
    if size is None:
        raise ModelError(f"{name} returns a plain module: give its input size (size=...)")
    return FeatureExtractor(made, size=size, name=name, **options)
