"""What students take over from MobileNetV2."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from idse.learned.student.base import load_base
from idse.learned.student.network import MEAN, STD, STILLS, VIDEO, StudentNetwork, student_program
from idse.picture import Picture, PictureFormat
from idse.vision import load_model

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("kind", "count"), [(VIDEO, 30), (STILLS, 39)])
def test_the_base_sees_what_mobilenet_sees(kind, count):
    original = load_model("mobilenet_v2", size=(96, 96))
    network = StudentNetwork(*student_program(1, kind), normalised=True).eval()
    load_base(network)
    form = PictureFormat(width=96, height=96, pix_fmt="yuv444p")
    random = np.random.default_rng(0)
    planes = tuple(random.integers(60, 190, (96, 96)).astype(np.uint8) for _ in range(3))
    with torch.inference_mode():
        expected = original.module.stem(original.from_picture(Picture(planes=planes, format=form)))
        seen = (np.stack(planes) - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
        found = network.convs["base0"](torch.from_numpy(seen.astype(np.float32))[None])
    # MobileNetV2's activations end at 6. At the border it sees black, and a student grey.
    inside = (..., slice(1, None), slice(1, None))
    torch.testing.assert_close(found.clamp(0, 6)[inside], expected[inside], atol=1e-3, rtol=1e-3)
    trained = [name for name, conv in network.convs.items() if conv.weight.requires_grad]
    assert all(name.startswith(("top", "conv")) for name in trained)
    assert len(network.convs) - len(trained) == 18
    assert len(network.pretrained) == count
