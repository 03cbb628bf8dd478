"""The learned codec in the harness: real files, their rates, and what they depend on."""

from pathlib import Path

import pytest
from eval_media import write_images

from idse.errors import InputError, ModelError
from idse.evaluation.coders import find_coder
from idse.evaluation.configuration import Configuration
from idse.evaluation.sources import find_sources

pytestmark = pytest.mark.fast
GOLDEN = Path(__file__).parents[1] / "golden" / "vae"
TINY = f"--vae-model {GOLDEN / 'tiny-hyperprior.safetensors'}"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("vae"), [(96, 65), (64, 96), (80, 80), (71, 57)])
    return find_sources([str(folder)], selection="odd", pix_fmt="rgb24")[0]


def test_files_keep_their_rate_and_decode_to_the_pictures_sizes(odd):
    coder = Configuration(name="a", codec="vae", arguments=TINY).coder
    coder.check(odd)
    for rate in (1.0, 2.5):
        files = coder.encode(odd, rate, {})
        decoded = list(coder.decode(files, odd))
        for data, rgb, shown in zip(files, odd.pixels(), decoded, strict=True):
            assert coder.size(data) == len(data) <= rate * rgb.shape[0] * rgb.shape[1] / 8
            assert (shown.format.height, shown.format.width) == rgb.shape[:2]
    again = Configuration(name="b", codec="vae", arguments=TINY).coder
    assert again.key(odd) == coder.key(odd)
    other = TINY.replace("hyperprior", "factorised")
    other = Configuration(name="a", codec="vae", arguments=other).coder
    assert other.key(odd) != coder.key(odd)


def test_what_cannot_be_asked_for(odd):
    coder = Configuration(name="a", codec="vae", arguments=TINY).coder
    with pytest.raises(InputError, match="above 0"):
        coder.encode(odd, 0.0, {})
    with pytest.raises(InputError, match="does not fit"):
        coder.encode(odd, 0.01, {})
    files = coder.encode(odd, 2.0, {})
    with pytest.raises(InputError, match="expected"):
        list(coder.decode(files[::-1], odd))
    missing = find_coder("vae").parse(["--vae-model", "missing.safetensors"])
    with pytest.raises(ModelError, match="missing"):
        missing.key(odd)
    with pytest.raises(InputError, match="--rate"):
        Configuration(name="a", codec="vae", arguments="--rate 3")
