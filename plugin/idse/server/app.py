"""The sidecar over HTTP: the KServe v2 protocol, metrics, and a page to look at."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from idse import __version__
from idse.errors import BusyError, IdseError, InputError, ModelError
from idse.server import pictures
from idse.server.answers import Encoder, Failure, ModelMetadata, Ready, ServerFacts, State, Tensor
from idse.server.auth import RequireToken
from idse.server.inference import MODELS, VERSION, outputs, read_call, submit
from idse.server.limits import LimitBodies
from idse.server.tensors import (
    HEADER,
    InferenceRequest,
    InferenceResponse,
    read_request,
    write_response,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from idse.pipeline.images.vae import VaeCodec
    from idse.server.auth import App
    from idse.server.encoders import EncoderServer
    from idse.server.inference import Arrays
    from idse.server.metrics import Metrics
    from idse.server.models import Models
    from idse.server.preview import Previews
    from idse.server.queue import AnalysisQueue
    from idse.server.tensors import Parameters

logger = logging.getLogger(__name__)

ModelName = Annotated[
    Literal["importance", "sketch", "vae-encode", "vae-decode"], Path(description="of the model")
]
Version = Annotated[Literal["1"], Path(description="of the model")]
Unit = Annotated[float, Query(ge=0, le=2)]
Quality = Annotated[float, Query(ge=15, le=45)]
NetworkName = Annotated[str, Query(max_length=200)]
# Requests whose tensors are in memory; more are refused.
_MOST_AT_ONCE = 16


class Backend:
    """What requests are answered from.

    Parameters
    ----------
    models, queue, metrics
        The server's.
    previews
        What the page asks.
    codec
        Of learned pictures.

    Attributes
    ----------
    encoders
        Set as soon as encoders may connect.
    draining
        Set where the server is about to stop.
    """

    def __init__(
        self,
        models: Models,
        queue: AnalysisQueue,
        metrics: Metrics,
        previews: Previews,
        codec: VaeCodec,
    ) -> None:
        self.models = models
        self.queue = queue
        self.metrics = metrics
        self.previews = previews
        self.codec = codec
        self.encoders: EncoderServer | None = None
        self.draining = False
        self._at_once = 0

    @property
    def ready(self) -> bool:
        """Whether models can be called."""
        return self.models.ready and not self.draining

    def check(self, name: str | None = None) -> None:
        """Check that a request may be worked on, and that a model of the protocol is here.

        Raises
        ------
        HTTPException
            Not now, or not here.
        """
        if name in pictures.MODELS and not pictures.available(self.codec):
            raise HTTPException(404, f"{name} is not here: it needs a VAE model and 'idse[vae]'")
        if not self.ready:
            why = "shutting down" if self.draining else "loading its networks"
            raise HTTPException(503, f"the server is {why}")

    async def infer(
        self, name: str, body: bytes, json_length: str | None, client: Hashable
    ) -> Response:
        """Call a model."""
        self.check(name)
        if self._at_once >= _MOST_AT_ONCE:
            raise BusyError(f"{self._at_once} requests are worked on already: try again later")
        self._at_once += 1
        try:
            request, inputs = await run_in_threadpool(read_request, body, json_length)
            found = await self._called(name, inputs, request.parameters, client)
            answer, length = await run_in_threadpool(write_response, request, name, VERSION, found)
        finally:
            self._at_once -= 1
        if length is None:
            return Response(answer, media_type="application/json")
        headers = {HEADER: str(length)}
        return Response(answer, media_type="application/octet-stream", headers=headers)

    async def _called(
        self, name: str, inputs: Arrays, parameters: Parameters, client: Hashable
    ) -> Arrays:
        """Return a model's outputs by name."""
        if name in pictures.MODELS:
            asked = await run_in_threadpool(pictures.read_call, name, inputs, parameters)
            return await asyncio.wrap_future(pictures.submit(asked, self.codec, self.queue, client))
        call = await run_in_threadpool(read_call, name, inputs, parameters, self.models)
        futures = submit(name, call, self.models, self.queue, client)
        results = await asyncio.gather(*map(asyncio.wrap_future, futures))
        return outputs(name, call, list(results))

    def state(self) -> State:
        """Return what the server is doing."""
        queue = self.queue.facts()
        sessions = [] if self.encoders is None else self.encoders.facts()
        return State(
            ready=self.ready,
            models=list(self.models.names),
            waiting=queue.waiting,
            running=queue.running,
            encoders=[
                Encoder(
                    number=item.number,
                    pid=item.pid,
                    width=item.width,
                    height=item.height,
                    live=item.live,
                    options=item.options,
                    frames=item.frames,
                    steered=item.steered,
                    refused=item.refused,
                    analysed=item.analysed,
                    fps=round(item.rate, 2),
                    latency_ms=round(1e3 * item.latency, 2),
                    steered_share=item.steered / max(1, item.frames),
                    map_age=None if item.age is None else round(item.age, 3),
                )
                for item in sessions
            ],
        )


def build_app(backend: Backend, token: str | None) -> App:
    """Return the ASGI application.

    Parameters
    ----------
    backend
        What requests are answered from.
    token
        What TCP clients must show; None keeps all of them out.
    """
    app = FastAPI(title="idse serve", version=__version__, docs_url=None, redoc_url=None)
    _add_failures(app)
    _add_health(app, backend)
    _add_models(app, backend)
    _add_page(app, backend)
    return RequireToken(LimitBodies(app, backend.metrics), token)


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": why}
    for status, why in {
        400: "the request makes no sense",
        401: "the token is missing",
        404: "there is no such thing",
        408: "the body was too slow",
        413: "the body is too large",
        422: "the network fails on this picture",
        429: "too much to do, or it cannot be done in time",
        503: "not ready",
    }.items()
}


def _add_failures(app: FastAPI) -> None:
    statuses: list[tuple[type[IdseError], int]] = [
        (InputError, 400),
        (BusyError, 429),
        (ModelError, 422),
        (IdseError, 500),
    ]

    def failure(status: int, reason: str) -> JSONResponse:
        headers = {"retry-after": "1"} if status in (429, 503) else None
        return JSONResponse({"error": reason}, status, headers)

    def answer(status: int) -> Callable[[Request, Exception], JSONResponse]:
        return lambda _, error: failure(status, " ".join(str(error).split()))

    for kind, status in statuses:
        app.add_exception_handler(kind, answer(status))

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        found = failure(error.status_code, str(error.detail))
        found.headers.update(error.headers or {})
        return found

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        status = 404 if place[0] == "path" else 400
        return failure(status, f"{'.'.join(place)}: {first['msg']}")


def _add_health(app: FastAPI, backend: Backend) -> None:
    @app.get("/v2/health/live", responses=_REFUSALS)
    def live() -> dict[str, bool]:
        """Tell that the server runs."""
        return {"live": True}

    @app.get("/v2/health/ready", responses=_REFUSALS)
    def ready() -> dict[str, bool]:
        """Tell that all models can be called."""
        backend.check()
        return {"ready": True}

    @app.get("/v2", responses=_REFUSALS)
    def server() -> ServerFacts:
        """Describe the server."""
        return ServerFacts(name="idse", version=__version__, extensions=["binary_tensor_data"])

    @app.get("/metrics", response_class=Response, responses=_REFUSALS)
    def metrics() -> Response:
        """Return counters for Prometheus."""
        return Response(backend.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/status", responses=_REFUSALS)
    def status() -> State:
        """Tell what the server is doing."""
        return backend.state()


def _add_models(app: FastAPI, backend: Backend) -> None:
    def metadata(name: ModelName) -> ModelMetadata:
        """Describe a model."""
        facts = asdict({**MODELS, **pictures.MODELS}[name])
        networks = list(backend.models.names if name in MODELS else backend.codec.names)
        return ModelMetadata(
            name=name,
            versions=[VERSION],
            platform="idse",
            inputs=[Tensor(**item) for item in facts["inputs"]],
            outputs=[Tensor(**item) for item in facts["outputs"]],
            parameters={"about": facts["about"], "network": networks},
        )

    def ready(name: ModelName) -> Ready:
        """Tell that a model can be called."""
        backend.check(name)
        return Ready(name=name, ready=True)

    async def infer(name: ModelName, request: Request) -> Response:
        """Call a model; tensors may follow the JSON as bytes."""
        host = request.client.host if request.client else "local"
        return await backend.infer(
            name, await request.body(), request.headers.get(HEADER), ("http", host)
        )

    schema = _inlined(InferenceRequest.model_json_schema())
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    answers: dict[int | str, dict[str, Any]] = {**_REFUSALS, 200: {"model": InferenceResponse}}
    of_version = [Depends(_check_version)]
    for prefix, needs in (
        ("/v2/models/{name}", []),
        ("/v2/models/{name}/versions/{version}", of_version),
    ):
        app.get(prefix, responses=_REFUSALS, dependencies=needs)(metadata)
        app.get(prefix + "/ready", responses=_REFUSALS, dependencies=needs)(ready)
        app.post(prefix + "/infer", responses=answers, dependencies=needs, openapi_extra=body)(
            infer
        )


def _check_version(version: Version) -> str:
    return version


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON schema with its definitions in place: OpenAPI keeps them elsewhere."""
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:  # noqa: ANN401
        if isinstance(node, dict):
            if "$ref" in node:
                return resolved(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolved(value) for key, value in node.items()}
        return [resolved(value) for value in node] if isinstance(node, list) else node

    found: dict[str, Any] = resolved(schema)
    return found


def _hash(page: bytes, tag: bytes) -> str:
    """Return what allows the page's own element of a kind, of which it has one."""
    content = page.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0]
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return f"'sha256-{digest}'"


def _add_page(app: FastAPI, backend: Backend) -> None:
    page = resources.files("idse.server").joinpath("page.html").read_bytes()
    # Nothing but the page itself: no other script or style, and no other site.
    policy = (
        f"default-src 'none'; script-src {_hash(page, b'script')}; "
        f"style-src {_hash(page, b'style')}; img-src data:; connect-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "etag": f'"{hashlib.sha256(page).hexdigest()[:16]}"',
    }

    @app.get("/", response_class=Response, include_in_schema=False)
    def show() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    @app.post("/preview", include_in_schema=False)
    async def preview(
        request: Request,
        strength: Unit = 1.0,
        alpha: Unit = 0.5,
        crf: Quality = 35.0,
        network: NetworkName = "",
    ) -> Response:
        backend.check()
        body = await request.body()
        answer = await run_in_threadpool(
            backend.previews.make,
            body,
            network=network or backend.models.default,
            strength=strength,
            alpha=alpha,
            crf=crf,
        )
        return Response(answer, media_type="application/json")
