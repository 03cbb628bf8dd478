"""What the server answers, as its own description tells it."""

from __future__ import annotations

from pydantic import BaseModel


class Failure(BaseModel):
    """Why a request failed."""

    error: str


class ServerFacts(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Tensor(BaseModel):
    """A model's input or output."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, str | list[str]]


class Ready(BaseModel):
    """Whether a model can be called."""

    name: str
    ready: bool


class Encoder(BaseModel):
    """An encoder that is connected."""

    number: int
    pid: int
    width: int
    height: int
    live: bool
    options: str
    frames: int
    steered: int
    refused: int
    analysed: int
    fps: float
    latency_ms: float
    steered_share: float
    map_age: float | None


class State(BaseModel):
    """What the server is doing."""

    ready: bool
    models: list[str]
    waiting: int
    running: int
    encoders: list[Encoder]
