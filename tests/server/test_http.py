"""KServe's protocol over real sockets: Triton's client, tokens, deadlines, metrics."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny_networks
import tritonclient.http as triton
from served import TOKEN, connected, served, session
from tritonclient.utils import InferenceServerException

from idse.importance import Analyser
from idse.picture import Picture, PictureFormat

pytestmark = pytest.mark.fast


def allowed():
    """Of each request its own: Triton's client writes into them."""
    return {"Authorization": f"Bearer {TOKEN}"}


FORM = PictureFormat(width=96, height=64, matrix="bt709")


def planes():
    rng = np.random.default_rng(0)
    return tuple(rng.integers(0, 256, shape, np.uint8) for shape in FORM.plane_shapes)


def images(count=1):
    return np.random.default_rng(1).integers(0, 256, (count, 48, 80, 3), np.uint8)


def tensors(binary=True, **arrays):
    made = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, array.shape, "UINT8" if array.itemsize == 1 else "UINT16")
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


def body(**changes):
    """A request that is right, but for some changes."""
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 2, 3], "data": [7] * 12}
    return json.dumps({"inputs": [tensor], **changes})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with served(folder, "--model", "tiny_networks:slow", "--model", "tiny_networks:fails") as made:
        yield made


@pytest.fixture
def client(server):
    made = triton.InferenceServerClient(server.tcp, concurrency=4)
    yield made
    made.close()


def test_a_client_of_triton_finds_what_it_looks_for(client):
    assert client.is_server_live(headers=allowed())
    assert client.is_server_ready(headers=allowed())
    assert "binary_tensor_data" in client.get_server_metadata(headers=allowed())["extensions"]
    for name in ("importance", "sketch"):
        assert client.is_model_ready(name, headers=allowed())
        assert client.is_model_ready(name, "1", headers=allowed())
        facts = client.get_model_metadata(name, headers=allowed())
        assert facts["versions"] == ["1"]
        assert facts["inputs"][0] == {"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]}
        assert "tiny_networks:sees_left" in facts["parameters"]["network"]
    assert not client.is_model_ready("other", headers=allowed())
    assert not client.is_model_ready("sketch", "2", headers=allowed())


@pytest.mark.parametrize("binary", [True, False])
def test_importance_is_what_the_library_computes(client, binary):
    y, cb, cr = planes()
    answer = client.infer(
        "importance",
        tensors(binary, y=y, cb=cb, cr=cr),
        outputs=[triton.InferRequestedOutput("importance", binary_data=binary)],
        parameters={"n_s": 4, "seed": 2, "frame_index": 9, "matrix": "bt709"},
        request_id="mine",
        headers=allowed(),
    )
    shown = Picture(planes=(y, cb, cr), format=FORM, index=9)
    analyser = Analyser([(tiny_networks.sees_left(), 1.0)], n_s=4, seed=2)
    np.testing.assert_allclose(
        answer.as_numpy("importance"), analyser.analyse(shown).weight(), rtol=1e-5
    )
    assert answer.get_response()["id"] == "mine"


def test_a_sketch_says_the_same_as_its_importance(client):
    (image,) = images()
    sketch = client.infer("sketch", tensors(image=image), headers=allowed())
    parts = [sketch.as_numpy(name) for name in ("y", "cb", "cr")]
    assert [part.shape for part in parts] == [(2, 48, 80)] * 3
    found = client.infer("importance", tensors(image=image), headers=allowed())
    energy = sum(np.square(part).sum(0).reshape(3, 16, 5, 16).sum((1, 3)) for part in parts)
    np.testing.assert_allclose(found.as_numpy("importance"), energy / 256, rtol=1e-4)


def test_several_images_are_as_one_by_one(client):
    several = client.infer("importance", tensors(image=images(3)), headers=allowed())
    assert several.as_numpy("importance").shape == (3, 3, 5)
    for n, image in enumerate(images(3)):
        parameters = {"frame_index": n}
        one = client.infer(
            "importance", tensors(image=image), parameters=parameters, headers=allowed()
        )
        np.testing.assert_allclose(
            one.as_numpy("importance"), several.as_numpy("importance")[n], rtol=1e-3, atol=1e-9
        )


def test_ten_bit_planes_are_read_as_such(client):
    wide = [plane.astype(np.uint16) * 4 for plane in planes()]
    found = client.infer(
        "importance", tensors(y=wide[0], cb=wide[1], cr=wide[2]), headers=allowed()
    )
    assert found.as_numpy("importance").any()
    wide[0][0, 0] = 1024
    with pytest.raises(InferenceServerException, match="0 to 1023"):
        client.infer("importance", tensors(y=wide[0], cb=wide[1], cr=wide[2]), headers=allowed())


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"network": "/etc/passwd"}, "not one of this server's"),
        ({"network": "../../weights.onnx"}, "not one of this server's"),
        ({"network": "os:getcwd"}, "not one of this server's"),
        ({"network": " "}, "no name"),
        ({"network": "tiny_networks:sees_left=nan"}, "nan"),
        ({"n_s": 65}, "above 64"),
        ({"n_s": True}, "n_s True"),
        ({"seed": -1}, "seed -1"),
        ({"maps": "street"}, "parameter 'maps'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(client, parameters, reason):
    with pytest.raises(InferenceServerException, match=reason):
        client.infer(
            "importance", tensors(image=images()[0]), parameters=parameters, headers=allowed()
        )


def test_a_network_that_fails_on_a_picture_is_no_failure_of_the_server(client):
    with pytest.raises(InferenceServerException, match="out of order") as caught:
        client.infer(
            "importance",
            tensors(image=images()[0]),
            parameters={"network": "tiny_networks:fails"},
            headers=allowed(),
        )
    assert caught.value.status() == "422"


def test_what_cannot_be_in_time_is_refused_at_once(client):
    slow = {"network": "tiny_networks:slow", "n_s": 1}
    image = tensors(image=images()[0])
    client.infer("importance", image, parameters=slow, headers=allowed())
    with pytest.raises(InferenceServerException, match="in time") as caught:
        client.infer("importance", image, parameters=slow, timeout=1000, headers=allowed())
    assert caught.value.status() == "429"
    client.infer("importance", image, parameters=slow, timeout=50_000_000, headers=allowed())


def test_more_than_it_can_take_is_refused_and_the_rest_is_done(server):
    text = body(parameters={"network": "tiny_networks:slow", "n_s": 1})

    def ask(_):
        return server.request("POST", "/v2/models/importance/infer", text)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(ask, range(40)))
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 16
    refused = next(headers for status, headers, _ in answers if status == 429)
    assert refused["retry-after"] == "1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        (body(inputs=[]), "inputs"),
        (body(inputs=[{"name": "image", "datatype": "FP32", "shape": [1], "data": [1]}]), "UINT8"),
        (body().replace("7,", "NaN,", 1), "whole numbers"),
        (body().replace("7,", "256,", 1), "0 to 255"),
        (body().replace("7,", "1.5,", 1), "whole numbers"),
        (body().replace("7,", '"7",', 1), "whole numbers"),
        (body().replace("7,", "[7],", 1), "whole numbers"),
        (body().replace("[2, 2, 3]", "[2, 2, 4]"), "12 numbers"),
        (body().replace("[2, 2, 3]", "[2, 0, 3]"), "1 to 16384"),
        (body().replace("[2, 2, 3]", "[16384, 16384, 3]"), "12 numbers"),
        (body().replace('"image"', '"y"', 1), "expected image"),
        (body(outputs=[{"name": "other"}]), "output 'other'"),
        (body(raw=True), "raw"),
        (body(parameters={"timeout": -5}), "timeout -5"),
    ],
)
def test_requests_that_are_none_are_told_so(server, text, reason):
    status, _, found = server.request("POST", "/v2/models/importance/infer", text)
    assert status == 400
    assert reason in json.loads(found)["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "99999", ""])
def test_a_header_about_bytes_that_lies_is_told_so(server, length):
    headers = {"Inference-Header-Content-Length": length}
    status, _, _ = server.request("POST", "/v2/models/importance/infer", body(), headers)
    assert status == 400


def test_bodies_that_are_too_large_are_not_even_received(server):
    with connected(server.facts["http"]) as connection:
        connection.putrequest("POST", "/v2/models/importance/infer")
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        assert connection.getresponse().status == 413
    with connected(server.facts["http"]) as connection:
        connection.putrequest("POST", "/v2/models/importance/infer")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
            list(map(connection.send, [piece] * 100))


ROUTES = [
    ("GET", "/"),
    ("GET", "/status"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/models/importance"),
    ("POST", "/v2/models/importance/infer"),
    ("POST", "/preview"),
    ("GET", "/nowhere"),
]


def over_tcp(server, method, path, headers=None):
    connection = http.client.HTTPConnection(server.tcp, timeout=30)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_nothing_is_to_be_had_over_tcp_without_the_token(server, method, path):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Basic " + TOKEN},
        {"Cookie": "idse_token=wrong"},
        {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"},
    ):
        answer = over_tcp(server, method, path, headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert over_tcp(server, method, path + "?token=wrong").status == 401
    assert over_tcp(server, method, path, allowed()).status != 401


def test_a_browser_changes_the_token_for_a_cookie(server):
    answer = over_tcp(server, "GET", f"/?token={TOKEN}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    shown = over_tcp(server, "GET", "/", {"Cookie": cookie.partition(";")[0]})
    assert shown.status == 200
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert over_tcp(server, "GET", f"/status?token={TOKEN}").status == 401


def test_metrics_count_what_was_done(server):
    server.request("GET", "/v2/models/whatever")
    server.request("POST", "/v2/models/importance/infer", body())
    _, headers, text = server.request("GET", "/metrics")
    assert headers["content-type"].startswith("text/plain")
    lines = text.decode().splitlines()
    for wanted in (
        'idse_requests_total{route="/v2/models/{name}",status="404"}',
        'idse_requests_total{route="/v2/models/{name}/infer",status="200"}',
        "idse_analyses_total",
        "idse_queue_waiting",
        "idse_encoders",
    ):
        assert any(line.startswith(wanted) for line in lines), wanted


def test_the_status_tells_of_encoders(server):
    assert server.get("/status")["encoders"] == []
    with session(server, "--analyse-every", "0") as encoder:
        for n in range(3):
            encoder.push(planes(), pts=n)
            encoder.take()
        (found,) = server.get("/status")["encoders"]
        assert (found["width"], found["height"], found["live"]) == (96, 64, False)
        assert (found["frames"], found["steered"], found["steered_share"]) == (3, 3, 1.0)
        assert found["options"] == "--n-s 1 --analyse-every 0"
