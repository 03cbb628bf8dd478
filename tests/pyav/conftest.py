"""PyAV's libavcodec is that of the whole test run: it is always left as it was."""

import pytest

import idse_pyav


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    for name in ("IDSE_SOCKET", "IDSE_OFFSETS", "IDSE_MODE", "IDSE_STRICT", "IDSE_REPORT"):
        monkeypatch.delenv(name, raising=False)
    yield
    idse_pyav.uninstall()


@pytest.fixture
def reported():
    """The encoders that a test has opened, oldest first."""
    before = {item["number"] for item in idse_pyav.report().encoders}
    return lambda: [i for i in idse_pyav.report().encoders if i["number"] not in before]
