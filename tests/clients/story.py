"""The story of 250 bikes, by the Python client that is generated from openapi.yaml."""

import sys
from typing import TypeVar

import httpx
from ringfence_client import Client
from ringfence_client.api.allocation import allocate, consume, query_allocations, reallocate
from ringfence_client.api.configuration import put_configuration
from ringfence_client.api.on_hand import change_on_hand, query_on_hand
from ringfence_client.models import (
    AllocateRequest,
    AllocationQuery,
    Balance,
    CommandAnswer,
    Configuration,
    ConsumeRequest,
    OnHandChange,
    OnHandQuery,
    Problem,
    ProblemLimitedByType0,
    ReallocateRequest,
)

ENVIRONMENT = "python"
DIMENSIONS = {"siteId": "1", "locationId": "11", "colorId": "red"}
VIP = {"channel": "Web", "region": "London", "customerGroup": "VIP"}
REGULAR = {"channel": "Web", "region": "London", "customerGroup": "Regular"}
WHAT = {"organizationId": "usmf", "productId": "GravelBike", "dimensions": DIMENSIONS}

T = TypeVar("T")


def done(answer: T | Problem | None) -> T:
    assert answer is not None and not isinstance(answer, Problem), answer
    return answer


def refused(answer: CommandAnswer | Problem | None, code: str, requested: float, available: float) -> Problem:
    assert isinstance(answer, Problem), answer
    assert (answer.code, answer.requested, answer.available) == (code, requested, available), answer
    assert (answer.status, answer.processing_status) == (409, "failure"), answer
    return answer


def balance(answer: CommandAnswer) -> tuple[float, float]:
    assert isinstance(answer.balance, Balance), answer
    return answer.balance.allocated, answer.balance.consumed


def story(client: Client) -> None:
    configuration = Configuration.from_dict({
        "dimensions": ["siteId", "locationId", "colorId", "sizeId"],
        "requiredDimensions": 2,
        "dataSources": {"pos": {"measures": ["inbound", "outbound"]}},
        "allocation": {
            "groups": ["channel", "region", "customerGroup"],
            "availableToAllocate": "pos.inbound - pos.outbound - @iv.@allocated",
        },
    })
    assert done(put_configuration.sync(ENVIRONMENT, client=client, body=configuration)).warnings == []

    stock = OnHandChange.from_dict({"id": "delivery-1", **WHAT, "quantities": {"pos": {"inbound": 250}}})
    arrived = done(change_on_hand.sync(ENVIRONMENT, client=client, body=stock))
    assert (arrived.version, arrived.available_to_allocate) == (1, 250), arrived

    ring_fence = AllocateRequest.from_dict({"id": "promotion-1", **WHAT, "groups": VIP, "quantity": 200})
    fenced = done(allocate.sync(ENVIRONMENT, client=client, body=ring_fence))
    assert (balance(fenced), fenced.available_to_allocate) == ((200, 0), 50), fenced

    stores = AllocateRequest.from_dict({"id": "stores-1", **WHAT, "groups": {"channel": "Store"}, "quantity": 60})
    answer = allocate.sync(ENVIRONMENT, client=client, body=stores)
    problem = refused(answer, "insufficient-available-to-allocate", 60, 50)
    assert isinstance(problem.limited_by, ProblemLimitedByType0) and problem.limited_by.to_dict() == DIMENSIONS, problem

    move = {"id": "move-1", **WHAT, "sourceGroups": VIP, "groups": REGULAR, "quantity": 40}
    moved = done(reallocate.sync(ENVIRONMENT, client=client, body=ReallocateRequest.from_dict(move)))
    assert isinstance(moved.source_balance, Balance) and moved.source_balance.allocated == 160, moved

    order = {**WHAT, "physicalMeasures": {"pos": {"outbound": "Addition"}}}
    three = ConsumeRequest.from_dict({"id": "order-1", **order, "groups": VIP, "quantity": 3})
    first = consume.sync_detailed(ENVIRONMENT, client=client, body=three)
    assert balance(done(first.parsed)) == (157, 3), first
    again = consume.sync_detailed(ENVIRONMENT, client=client, body=three)
    assert again.headers["Idempotent-Replayed"] == "true" and again.parsed == first.parsed, again

    many = ConsumeRequest.from_dict({"id": "order-2", **order, "groups": REGULAR, "quantity": 41})
    refused(consume.sync(ENVIRONMENT, client=client, body=many), "insufficient-allocation", 41, 40)

    question = AllocationQuery.from_dict({**WHAT, "groups": {"channel": "Web"}})
    left = done(query_allocations.sync(ENVIRONMENT, client=client, body=question))
    assert [(record.groups.to_dict(), record.quantities.iv.allocated) for record in left] == [(REGULAR, 40), (VIP, 157)]

    filters = {"organizationId": ["usmf"], "productId": ["GravelBike"], "siteId": ["1"], "locationId": ["11"]}
    shop = OnHandQuery.from_dict({"filters": filters, "groupByValues": ["colorId"], "returnNegative": True})
    [record] = done(query_on_hand.sync(ENVIRONMENT, client=client, body=shop))
    assert record.quantities["pos"]["outbound"] == 3, record
    assert record.quantities["@iv"]["@available_to_allocate"] == 50, record


with Client(base_url=sys.argv[1], timeout=httpx.Timeout(60)) as client:
    story(client)
print("Python: the story is true")
