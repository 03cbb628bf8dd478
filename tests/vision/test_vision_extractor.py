"""Feature extractors of any module, task heads, and the naming of models."""

import numpy as np
import pytest
import torch
from torch import nn

from idse.errors import InputError, ModelError
from idse.vision import FeatureExtractor, Top1, load_model
from idse.vision.heads import Boxes, suppress

pytestmark = pytest.mark.fast


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)
        self.unused = nn.Identity()
        self.ran = []

    def forward(self, x):
        x = self.backbone(x)
        self.ran.append("head")
        return {"map": self.head(x), "mean": [x.mean((2, 3))], "count": torch.tensor([1])}


def make_extractor():
    return FeatureExtractor(Small(), size=(16, 16), layer="backbone.0")


def make_module():
    return Small()


def make_nonsense():
    return 7


def test_module_is_frozen_and_in_evaluation_mode():
    network = FeatureExtractor(Small().train(), size=(16, 16))
    assert not network.module.backbone[1].training
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    network.features(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.module.parameters())


def test_nested_outputs_are_flattened_and_a_layer_replaces_them():
    network = FeatureExtractor(Small(), size=(16, 16))
    x = torch.rand(2, 3, 16, 16)
    assert network.features(x).shape == (2, 2 * 7 * 7 + 4)
    layer = network.at_layer("backbone.2")
    network.module.ran.clear()
    torch.testing.assert_close(layer.features(x), network.module.backbone(x).flatten(1))
    assert network.module.ran == []  # nothing after the layer was computed
    assert not network.module.backbone[2]._forward_hooks
    assert layer.name == "Small@backbone.2"


def test_unknown_and_idle_layers_are_named():
    network = FeatureExtractor(Small(), size=(16, 16))
    with pytest.raises(ModelError, match=r"no layer 'backbon.0'.*backbone\.0"):
        network.at_layer("backbon.0")
    with pytest.raises(ModelError, match=r"'unused' of Small.* does not run"):
        network.at_layer("unused").features(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 8)}, r"\(0, 8\)"),
        ({"size": (50, 64), "stride": 32}, "multiple of 32"),
        ({"size": (8, 8), "fit": "crop"}, "'crop'"),
        ({"size": (8, 8), "channels": "gbr"}, "'gbr'"),
        ({"size": (8, 8), "std": (1, 0, 1)}, "above 0"),
        ({"size": (8, 8), "mean": (1, 0)}, "3 values"),
    ],
)
def test_options_without_sense_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FeatureExtractor(nn.Identity(), **options)


def test_suppression_is_greedy_and_within_a_class():
    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [4, 0, 14, 10], [20, 0, 30, 10]], np.float32
    )
    scores = np.array([0.6, 0.9, 0.5, 0.8, 0.3], np.float32)
    classes = np.array([1, 1, 2, 1, 1])
    # 0 falls to 1 (IoU 0.9); 2 is of another class; 3 overlaps 1 by only 0.41.
    assert suppress(boxes, scores, classes, 0.45).tolist() == [1, 3, 2, 4]
    assert suppress(boxes, scores, classes, 0.3).tolist() == [1, 2, 4]
    assert suppress(boxes[:0], scores[:0], classes[:0], 0.5).tolist() == []


def test_boxes_drop_nan_and_pictures_keep_their_order():
    def decoder(output, size):
        n = len(output)
        boxes = torch.tensor([[0.0, 0.0, size[1], size[0]]]).repeat(n, 2, 1)
        scores = torch.stack([output.mean((1, 2, 3)), torch.full((n,), float("nan"))], 1)
        return boxes, scores[:, :, None]

    network = FeatureExtractor(nn.Identity(), size=(64, 64), stride=32, head=Boxes(decoder))
    pictures = [
        np.full((h, w, 3), v, np.uint8) for h, w, v in ((64, 64, 255), (20, 64, 150), (64, 64, 0))
    ]
    found = network.detect(pictures)
    assert [len(d) for d in found] == [1, 1, 0]
    assert found[0].scores[0] == pytest.approx(1.0)
    np.testing.assert_allclose(found[1].boxes, [[0, 0, 64, 20]])
    with pytest.raises(ModelError, match="returns Detections, not Classification"):
        network.classify(pictures)


def test_top1_needs_logits_and_a_head_is_needed_at_all():
    image = np.zeros((8, 8, 3), np.uint8)
    network = FeatureExtractor(nn.Identity(), size=(8, 8), head=Top1())
    with pytest.raises(InputError, match="top-1 needs logits"):
        network.classify([image])
    with pytest.raises(ModelError, match="no task head"):
        FeatureExtractor(nn.Identity(), size=(8, 8)).detect([image])
    with pytest.raises(InputError, match="uint8"):
        network.from_rgb(image.astype(np.float32))


def test_factories():
    here = __name__
    assert load_model(f"{here}:make_extractor").layer == "backbone.0"
    network = load_model(f"{here}:make_module@head", size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert network.size == (32, 32)
    assert network.features(torch.rand(1, 3, 32, 32)).shape == (1, 2 * 15 * 15)
    with pytest.raises(ModelError, match="give its input size"):
        load_model(f"{here}:make_module")
    with pytest.raises(ModelError, match="returned int"):
        load_model(f"{here}:make_nonsense")
    with pytest.raises(ModelError, match="no_such_package"):
        load_model("no_such_package:thing")
    with pytest.raises(ModelError, match=r"unknown model 'resnet'.*yolov4-tiny"):
        load_model("resnet")
