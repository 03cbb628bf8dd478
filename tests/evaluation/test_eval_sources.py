"""What is selected, labelled, filtered and resampled."""

import numpy as np
import pytest
from eval_media import write_clip, write_images

from idse.errors import InputError
from idse.evaluation.filtering import resized
from idse.evaluation.sources import Clip, find_sources

pytestmark = pytest.mark.fast
SIZES = [(64, 48), (48, 64), (50, 33), (64, 48), (80, 40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("set") / "images", SIZES)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mkv")


def test_halves_of_a_set_share_nothing_and_leave_nothing_out(folder):
    (odd,) = find_sources([str(folder)], selection="report")
    (even,) = find_sources([str(folder)], selection="even")
    assert [path.stem for path in odd.paths] == ["01", "03"]
    assert [path.stem for path in even.paths] == ["00", "02", "04"]
    assert odd.complement().paths == even.paths
    assert even.complement().paths == odd.paths
    assert odd.complement().key == even.key != odd.key
    (whole,) = find_sources([str(folder)])
    assert whole.complement() == whole
    assert whole.name == folder.parent.name


def test_pictures_are_of_the_format_asked_for(folder):
    (images,) = find_sources([str(folder)], pix_fmt="yuv444p")
    for (width, height), item in zip(SIZES, images.pictures(), strict=True):
        assert (item.format.width, item.format.height) == (width, height)
        assert item.planes[1].shape == (height, width)
    assert [item.index for item in images.pictures()] == [0, 1, 2, 3, 4]


def test_labels_beside_the_images(folder):
    labels = folder.parent / "labels"
    labels.mkdir(exist_ok=True)
    (labels / "01.txt").write_text("7 0.5 0.25 0.5 0.5\n0 0.5 0.5 1 1\n")
    (images,) = find_sources([str(folder)], selection="odd")
    first, second = images.boxes()
    assert first.classes.tolist() == [7, 0]
    assert np.allclose(first.boxes, [[12, 0, 36, 32], [0, 0, 48, 64]])
    assert len(second) == 0
    (labels / "03.txt").write_text("7 0.5 0.25\n")
    with pytest.raises(InputError, match=r"03\.txt"):
        images.boxes()


def test_classes_in_a_table(folder):
    table = folder / "labels.csv"
    table.write_text("file,class_index\n" + "".join(f"0{n}.png,{10 * n}\n" for n in range(5)))
    (images,) = find_sources([str(folder)], selection="odd")
    assert images.classes().tolist() == [10, 30]
    table.write_text("file,class_index\n01.png,1\n")
    with pytest.raises(InputError, match=r"03\.png"):
        images.classes()
    table.unlink()
    assert images.classes().size == 0


def test_a_filter_changes_the_pictures_and_the_key(folder):
    from dataclasses import replace

    (images,) = find_sources([str(folder)])
    smaller = replace(images, filter="scale=w=32:h=-2:flags=bicubic")
    assert smaller.key != images.key
    for whole, small in zip(images.pictures(), smaller.pictures(), strict=True):
        assert small.format.width == 32
        assert small.index == whole.index
        back = resized(small, whole.format.width, whole.format.height)
        assert back.format == whole.format
        error = back.planes[0].astype(float) - whole.planes[0]
        assert abs(error.mean()) < 2
        assert error.std() < whole.planes[0].std() / 2
    with pytest.raises(InputError, match="nonsense"):
        replace(images, filter="nonsense=3").pictures()


def test_parts_of_a_clip(clip):
    half = Clip.open(clip, selection="second", block=1)
    assert (half.first, half.last, half.rate) == (10, 20, 5.0)
    assert (half.complement().first, half.complement().last) == (0, 10)
    part = Clip.open(clip, start=1, end=3, step=2, block=1)
    assert (part.first, part.last) == (5, 15)
    assert part.times().tolist() == [1.0, 1.4, 1.8, 2.2, 2.6]
    assert part.units().tolist() == [0, 0, 0, 1, 1]
    found = [item.planes[0] for item in part.pictures()]
    whole = [item.planes[0] for item in Clip.open(clip, block=1).pictures()]
    assert all(np.array_equal(a, b) for a, b in zip(found, whole[5:15:2], strict=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"selection": "odd"}, "first or second half"),
        ({"start": 3.5, "block": 1}, "two blocks"),
        ({"start": 9, "block": 1}, "0.0 s in the part"),
        ({"step": 0}, "step 0"),
    ],
)
def test_parts_that_cannot_be_judged(clip, options, words):
    with pytest.raises(InputError, match=words):
        Clip.open(clip, **options)


def test_sources_that_are_none(folder, tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        find_sources([str(tmp_path)])
    with pytest.raises(InputError, match=r"nowhere\.mp4"):
        find_sources([str(tmp_path / "nowhere.mp4")])
    with pytest.raises(InputError, match="odd or even"):
        find_sources([str(folder)], selection="first")
    with pytest.raises(InputError, match="gbrp"):
        find_sources([str(folder)], pix_fmt="gbrp")
