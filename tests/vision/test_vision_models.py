"""The built-in networks on photographs, and Darknet's files."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from idse.errors import ModelError
from idse.picture import Picture, PictureFormat
from idse.vision import load_model, registry
from idse.vision.darknet import Darknet, YoloLayer, YoloOutput, gated_features
from idse.vision.heads import iou_matrix


def photograph(path):
    return np.asarray(Image.open(path).convert("RGB"))


def as_picture(path, rotation=0):
    """Code a photograph as JPEG's own Y'CbCr, turned as a phone that was held sideways does."""
    image = Image.open(path).convert("YCbCr").rotate(-rotation, expand=True)
    planes = tuple(np.ascontiguousarray(p) for p in np.asarray(image).transpose(2, 0, 1))
    fmt = PictureFormat(
        width=image.width,
        height=image.height,
        pix_fmt="yuvj444p",
        full_range=True,
        rotation=rotation,
    )
    return Picture(planes=planes, format=fmt)


@pytest.mark.fast
def test_yolo_finds_what_is_on_its_sample_photographs(yolo):
    bus, zidane = registry.sample_images("yolov4-tiny")
    found = yolo.detect([photograph(bus), photograph(zidane)])
    names = [[yolo.head.labels[c] for c in d.classes] for d in found]
    assert names[0].count("person") == 3
    assert names[0].count("bus") == 1
    assert names[1].count("person") == 2
    assert "tie" in names[1]
    # The man on the left of bus.jpg, measured by hand to about 10 pixels.
    best = found[0].boxes[0]
    np.testing.assert_allclose(best, [48, 398, 240, 905], atol=35)


@pytest.mark.fast
def test_yolo_sees_a_turned_picture_upright_and_answers_in_its_own_samples(yolo):
    bus, _ = registry.sample_images("yolov4-tiny")
    upright, turned = yolo.detect([as_picture(bus), as_picture(bus, rotation=90)])
    assert upright.classes.tolist() == turned.classes.tolist()
    np.testing.assert_allclose(upright.scores, turned.scores, atol=0.02)
    # (x, y) upright was coded, clockwise, at (height - y, x).
    height = 1080
    x0, y0, x1, y1 = upright.boxes.T
    expected = np.stack([height - y1, x0, height - y0, x1], axis=1)
    np.testing.assert_allclose(turned.boxes, expected, atol=3)


@pytest.mark.fast
def test_yolo_features_are_gated_by_objectness(yolo):
    layer = YoloLayer(anchors=((32.0, 16.0),), classes=2, scale_x_y=1.0)
    logits = torch.randn(1, 1, 7, 2, 2, dtype=torch.float64) * 3
    logits[:, :, 4] = torch.tensor([[-30.0, 0.0], [30.0, 30.0]])
    logits[0, 0, :, 1, 0] = torch.tensor([50.0, 0.0, 0.5, -0.25, 30.0, 0.0, -50.0])
    gate, classes, centre, extent = gated_features([YoloOutput(logits, 16, layer)])
    # No object: nothing is felt, whatever the other logits say.
    for part in (gate, classes, centre, extent):
        assert part[..., 0, 0].abs().max() < 1e-10
    # A sure object: plain outputs; the centre is half a cell (8 pixels) off, in anchors of 32.
    torch.testing.assert_close(classes[0, 0, :, 1, 0], torch.tensor([0.5, 0.0]).double())
    torch.testing.assert_close(centre[0, 0, :, 1, 0], torch.tensor([0.25, 0.0]).double())
    torch.testing.assert_close(extent[0, 0, :, 1, 0], torch.tensor([0.5, -0.25]).double())


@pytest.mark.fast
def test_yolo_gradient_lies_where_the_objects_are(yolo):
    bus, _ = registry.sample_images("yolov4-tiny")
    network = load_model("yolov4-tiny", size=320)
    image = photograph(bus)
    x = network.from_rgb(image).requires_grad_()
    f = network.features(x)
    generator = torch.Generator().manual_seed(0)
    energy = torch.zeros(x.shape[-2:])
    for _ in range(4):
        sign = torch.randint(0, 2, f.shape, generator=generator) * 2.0 - 1
        (g,) = torch.autograd.grad((f * sign).sum(), x, retain_graph=True)
        energy += g[0].square().sum(0)
    # The sky and road (top and bottom tenth) against the band with people and bus.
    rows = energy.shape[0]
    band = energy[rows // 3 : 4 * rows // 5].mean()
    outside = torch.cat([energy[: rows // 10], energy[-rows // 10 :]]).mean()
    assert band > 5 * outside


@pytest.mark.fast
def test_yolo_in_double_precision_matches_single(yolo):
    bus, _ = registry.sample_images("yolov4-tiny")
    network = load_model("yolov4-tiny", size=128)
    x = network.from_rgb(photograph(bus))
    single = network.features(x)
    network.module.double()
    torch.testing.assert_close(network.features(x.double()).float(), single, atol=1e-4, rtol=1e-3)


@pytest.mark.fast
def test_darknet_files_that_do_not_belong_together_are_refused(yolo, tmp_path):
    files = registry.model_files("yolov4-tiny")
    cfg = files["yolov4-tiny.cfg"].read_text()
    weights = files["yolov4-tiny.weights"].read_bytes()

    def load(cfg_text, data):
        (tmp_path / "a.cfg").write_text(cfg_text)
        (tmp_path / "a.weights").write_bytes(data)
        return Darknet(tmp_path / "a.cfg", tmp_path / "a.weights")

    with pytest.raises(ModelError, match="too short"):
        load(cfg, weights[:-4000])
    with pytest.raises(ModelError, match="1000 numbers more"):
        load(cfg, weights + bytes(4000))
    with pytest.raises(ModelError, match=r"\[shortcut\], which is not supported"):
        load("[net]\nwidth=32\nheight=32\nchannels=3\n[shortcut]\nfrom=-3\n", bytes(20))
    with pytest.raises(ModelError, match=r"a\.cfg:2: 'batch'"):
        load("[net]\nbatch\n", bytes(20))


@pytest.mark.fast
@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite1", "mobilenet_v2"])
def test_classifiers_know_a_bus(name):
    bus, _ = registry.sample_images("yolov4-tiny")
    network = load_model(name)
    (found,) = network.classify([photograph(bus)])
    # ImageNet: minibus, police van, recreational vehicle, streetcar, trolleybus.
    assert found.index in {654, 734, 757, 829, 874}
    f = network.features(network.from_rgb(photograph(bus)))
    # Roots of probabilities: a point on the unit sphere.
    assert f.shape == (1, 1000)
    assert f.square().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "least"),
    [("efficientnet-lite0", 0.8), ("efficientnet-lite1", 0.8), ("mobilenet_v2", 0.77)],
)
def test_classifiers_reach_their_accuracy(shared, name, least):
    with (shared / "imagenet" / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    network = load_model(name)
    found = [network.classify([photograph(shared / "imagenet" / r["file"])])[0] for r in rows]
    right = [f.index == int(r["class_index"]) for f, r in zip(found, rows, strict=True)]
    assert np.mean(right) >= least


@pytest.mark.full
def test_yolo_finds_labelled_objects(shared, yolo):
    """Recall of the labelled objects that are large, at the default threshold."""
    hits = total = 0
    for path in sorted((shared / "coco_val128" / "images").glob("*.jpg")):
        label = shared / "coco_val128" / "labels" / f"{path.stem}.txt"
        if not label.exists() or not label.read_text().strip():
            continue
        image = photograph(path)
        rows = np.loadtxt(label, ndmin=2)
        rows = rows[rows[:, 3] * rows[:, 4] > 0.05]
        scale = np.array([image.shape[1], image.shape[0]] * 2)
        centre, half = rows[:, 1:3], rows[:, 3:5] / 2
        truth = (np.hstack([centre - half, centre + half]) * scale).astype(np.float32)
        (found,) = yolo.detect([image])
        same = rows[:, 0].astype(int)[:, None] == found.classes[None, :]
        overlap = iou_matrix(truth, found.boxes) * same
        hits += int((overlap.max(axis=1, initial=0) > 0.5).sum())
        total += len(truth)
    assert total > 150
    assert hits / total > 0.6
