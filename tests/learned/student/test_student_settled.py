"""From random weights to a settled student, in two parts, as the built-in ones are made."""

from __future__ import annotations

import numpy as np
import pytest
from student_files import noise_picture

from idse.learned.student.analyser import StudentAnalyser
from idse.learned.student.distil import MIXTURE, Shown, collect, distil
from idse.learned.student.file import read_student
from idse.learned.student.network import STILLS, student_program
from idse.learned.student.teacher import Teacher
from idse.learned.student.train import TrainingPlan

pytestmark = pytest.mark.fast

FACTORY = """
import torch
from idse.vision import FeatureExtractor

def small():
    torch.manual_seed(0)
    return FeatureExtractor(torch.nn.Conv2d(3, 4, 5, stride=2), size=(64, 64))
"""


def test_a_student_of_a_kind_is_trained_on_and_settles(tmp_path, monkeypatch):
    (tmp_path / "settled_factory.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    teachers = [Teacher("settled_factory:small", n_s=1)]
    shown = [Shown(picture=noise_picture(64, 64, seed=k), group="a", held=k == 0) for k in range(3)]
    raws = collect(teachers, shown, len(shown), tmp_path, area=4096)
    heads = ["settled_factory:small", MIXTURE]
    first = None
    for settled in (None, (1.0, 0.0)):
        out = tmp_path / f"{settled}.safetensors"
        card = distil(
            teachers,
            raws,
            TrainingPlan(steps=1, gentle=STILLS.gentle),
            out,
            blend=[0, 1],
            cache=tmp_path,
            mixture={"a": [1.0]},
            settled=settled,
            kind=STILLS,
            start=first,
        )
        assert card["held_out"]["a"][MIXTURE]["pictures"] == 1
        student = read_student(out)
        assert list(student.heads) == heads
        assert student.area == 4096
        assert len(student.ops) == len(student_program(2, STILLS)[0])
        first = first or student
    # All of the last head is the first one now.
    maps = [StudentAnalyser(student, head=head).weight(noise_picture()) for head in heads]
    np.testing.assert_allclose(*maps, rtol=0.02)
