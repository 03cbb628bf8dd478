"""The page in a real browser: what it shows, what its sliders change, and whom it asks."""

import io
import shutil
import time

import numpy as np
import pytest
from chromium import Page
from media_files import clip_file, image_file
from PIL import Image
from served import TOKEN, served, session
from test_http_end import PLANES

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served"), "--model", "tiny_networks:slow") as made:
        yield made


@pytest.fixture(scope="module")
def page(server):
    if shutil.which("chromium") is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Page() as made:
        made.open(f"http://{server.tcp}/?token={TOKEN}")
        made.wait("document.readyState === 'complete'")
        made.wait("document.querySelectorAll('#network option').length === 2")
        yield made


def text(page, selector):
    return page.run(f"document.querySelector('{selector}').textContent")


def shown(page):
    """What the figures show, by their names."""
    return page.run(
        "Object.fromEntries([...document.querySelectorAll('figure')].map("
        "f => [f.id, f.querySelector('img')?.src]))"
    )


def done(page):
    page.wait("!state.busy && !state.again && document.querySelector('figure img') !== null")
    page.wait("[...document.querySelectorAll('figure img')].every(i => i.complete)")


def move(page, slider, value):
    page.run(
        f"$('{slider}').value = {value};"
        f"for (const kind of ['input', 'change']) $('{slider}').dispatchEvent(new Event(kind)); 0"
    )
    done(page)


def sizes(page):
    return page.run("state.shown.bytes")


def test_an_image_is_shown_stock_and_steered_at_equal_size(page, tmp_path):
    page.choose_file("#file", image_file(tmp_path / "street.png"))
    done(page)
    assert "street.png: 320x192, by tiny_networks:sees_left" in text(page, "#message")
    found = shown(page)
    assert set(found) == {"source", "stock", "steered", "importance", "qp_stock", "qp_steered"}
    assert len(set(found.values())) == 6
    widths = page.run("[...document.querySelectorAll('figure img')].map(i => i.naturalWidth)")
    assert sorted(widths) == [20, 20, 20, 320, 320, 320]
    assert 0.9 * sizes(page)["stock"] < sizes(page)["steered"] <= sizes(page)["stock"]
    assert f"{sizes(page)['stock']} bytes" in text(page, "#stock figcaption")
    page.screenshot(tmp_path / "page.png")
    with Image.open(io.BytesIO((tmp_path / "page.png").read_bytes())) as taken:
        assert taken.width >= 1300
        assert np.asarray(taken.convert("L")).std() > 20


def test_sliders_change_what_is_steered_and_not_what_is_stock(page):
    before = shown(page)
    move(page, "strength", 2)
    harder = shown(page)
    assert text(page, "#strength-value") == "2"
    # Both maps of QPs are on one scale.
    changed = {name for name in before if harder[name] != before[name]}
    assert {"steered", "qp_steered"} <= changed <= {"steered", "qp_steered", "qp_stock"}
    move(page, "alpha", 0)
    assert shown(page)["qp_steered"] != harder["qp_steered"]
    move(page, "strength", 0)
    assert shown(page)["qp_steered"] == shown(page)["qp_stock"]  # of whole CRFs, nothing is left
    move(page, "crf", 40)
    assert shown(page)["stock"] != before["stock"]
    assert shown(page)["source"] == before["source"]


def test_another_network_has_another_map(page):
    before = shown(page)["importance"]
    page.run("$('network').value = 'tiny_networks:slow'; 0")
    move(page, "strength", 1)
    assert "by tiny_networks:slow" in text(page, "#message")
    assert shown(page)["importance"] == before  # the same weights, only slower
    page.run("$('network').value = 'tiny_networks:sees_left'; 0")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_clip_has_pictures_to_choose_from(page, tmp_path, name):
    page.choose_file("#file", clip_file(tmp_path / name))
    page.wait(f"document.querySelector('#message').textContent.startsWith('{name}')")
    assert text(page, "#picture-value") == "1 of 24"
    first = shown(page)
    page.run("$('picture').value = 5; $('picture').dispatchEvent(new Event('input')); 0")
    assert text(page, "#picture-value") == "24 of 24"
    assert all(shown(page)[figure] != first[figure] for figure in ("source", "stock", "steered"))


def test_what_is_no_picture_is_told(page, tmp_path):
    path = tmp_path / "playlist.m3u8"
    path.write_text("#EXTM3U\nfile:///etc/passwd\n")
    page.choose_file("#file", path)
    page.wait("document.querySelector('#message').className === 'bad'")
    assert "this is no image" in text(page, "#message")


def test_encoders_come_and_go(page, server):
    page.wait("document.querySelector('#encoders').hidden")
    assert page.run("!document.querySelector('#nobody').hidden")
    with session(server, "--analyse-every", "0") as encoder:
        for n in range(4):
            encoder.push(PLANES, pts=n)
            encoder.take()
            time.sleep(0.05)
        # The page asks now and then: a first answer may have fewer of the frames.
        frames = "document.querySelector('#encoders tbody td:nth-child(5)')?.textContent"
        page.wait(f"{frames} === '4'")
        assert page.run("document.querySelectorAll('#encoders tbody tr').length") == 1
        cells = page.run(
            "[...document.querySelectorAll('#encoders tbody td')].map(c => c.textContent)"
        )
        assert cells[2:5] == ["96x64", "waits", "4"]
        assert float(cells[5]) > 0
        assert cells[6].endswith(" ms")
        assert cells[7:9] == ["4", "100 %"]
    page.wait("document.querySelector('#encoders').hidden")


def test_it_asks_nobody_else_and_complains_of_nothing(page, server):
    bad, asked = page.problems()
    # The one upload that could not be used.
    assert [item["entry"]["text"] for item in bad if "400" not in item["entry"]["text"]] == []
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {server.tcp}
