"""The server's own description, taken at its word by schemathesis: no answer is a failure."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from served import TOKEN, served

pytestmark = pytest.mark.full
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def try_out(operation, statuses):
    """Make requests that the description allows, and such that it does not."""

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def once(case):
        answer = case.call(headers=HEADERS, timeout=60)
        statuses.append(answer.status_code)
        assert answer.status_code < 500, (operation.label, answer.text)

    once()


def test_nothing_that_the_description_allows_makes_the_server_fail(tmp_path):
    with served(tmp_path) as made:
        schema = schemathesis.openapi.from_url(f"http://{made.tcp}/openapi.json", headers=HEADERS)
        statuses = []
        labels = []
        for found in schema.get_all_operations():
            operation = found.ok()
            labels.append(operation.label)
            try_out(operation, statuses)
        assert "POST /v2/models/{name}/infer" in labels
        assert len(labels) >= 11
        assert {200, 400} <= set(statuses)
