"""What the document cannot say: the names that the environment knows, and what every answer keeps to.

Bodies made of the document alone are nearly all refused, because no random name is a dimension's.
So most values of properties that everybody knows are replaced by fitting ones. The rest stays as
it was made, right or wrong.
"""

import atexit
import json
import os
import random
from collections import Counter
from datetime import datetime, timedelta, timezone

import schemathesis


def day(later):
    return (datetime.now(timezone.utc) + timedelta(days=later)).strftime("%Y-%m-%d")


PLACE = {"siteId": "1", "locationId": "11"}
RED = {**PLACE, "colorId": "red"}
SMALL = {**RED, "sizeId": "S"}
PLACES = [RED, PLACE, SMALL, {"siteId": "1", "shopId": "11"}, {"siteId": "2", "locationId": "", "sizeId": "S"}]
GROUPS = [{"channel": "Online"}, {"channel": "Online", "customerGroup": "VIP"}, {"channel": "Store"}]
MOVED = [{"pos": {"inbound": 3}}, {"pos": {"outbound": "0.5", "inbound": -1}}, {"fno": {"onordered": 10}}]

with open(os.path.join(os.path.dirname(__file__), "configuration.json")) as file:
    CONFIGURATION = json.load(file)

# By property, in lower case: what it may be. The first of all of them fit together.
FITTING = {
    **{name.lower(): [value] for name, value in CONFIGURATION.items()},
    "organizationid": ["usmf"],
    "productid": ["Bike", "Helmet"],
    "dimensiondatasource": ["pos"],
    "dimensions": [*PLACES, CONFIGURATION["dimensions"]],
    "groups": GROUPS,
    "targetgroups": GROUPS,
    "sourcegroups": GROUPS[::-1],
    "quantity": [1, 2, 0.5, "0.25", 100000],
    "offsetqty": [1, "0.5"],
    "quantities": MOVED,
    "quantitiesbydate": [{day(later): moved} for later in (0, 1, 29, 30) for moved in MOVED],
    "physicalmeasures": [{"pos": {"inbound": "Subtraction"}}, {"@iv": {"@softreserved": "Addition"}}],
    "quantitydatasource": ["@iv"],
    "modifier": ["@softreserved"],
    "shares": [[{"groups": {"channel": "Online"}, "share": 0.5}, {"groups": {"channel": "Store"}, "share": "0.25"}]],
    "groupbyvalues": [[], ["colorId"], ["siteId", "locationId", "sizeId"]],
    "groupby": ["colorId", "siteId,sizeId", ""],
    "operation": ["allocate", "change-on-hand,consume"],
    "from": [f"{day(-1)}T00:00:00Z", f"{day(1)}T00:00:00Z"],
    "to": [f"{day(1)}T00:00:00Z"],
    "order": ["oldest", "newest"],
    "format": ["json", "ndjson"],
    "actor": ["ann"],
    "reference": ["SO-1/1"],
    "reason": ["a promotion"],
    "role": ["consumer", "reader"],
    "organizationids": [["usmf"]],
    "expiresindays": [1],
    "rule": [
        {"balanceAtOrBelow": 100, "clearAbove": "200.5"},
        {"percentLeftAtOrBelow": 50},
        {"exhaustedWithinSeconds": 3600, "windowSeconds": 60},
        {"overAllocated": True, "clearAtOrAbove": 10},
        {"idleForSeconds": 60},
        {"unmetAbove": 1, "clearAtOrBelow": 0, "withinSeconds": 3600},
    ],
    # Whoever is told of alerts there: nobody is, as it is a private address.
    "url": ["https://localhost/hook"],
    "watches": [["low"]],
    "secret": ["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    "enabled": [True, False],
    "atpfromdate": [day(0), day(3)],
    "atptodate": [day(5), day(60)],
}
FILTERS = [{}, {"siteId": ["1"]}, {"siteId": ["1"], "locationId": ["11"]}, {"colorId": ["red", ""]}]
EXACT = {"dimensions": ["siteId", "locationId"], "values": [["1", "11"], ["2", ""]]}


# What is nearly never right unless it was read before.
RARELY_RIGHT = {"after", "before", "if-match", "idempotency-key"}


class Best(random.Random):
    """Always the first."""

    def choice(self, values):
        return values[0]


def fit_property(name, own, chance):
    if name == "id":
        return f"event {chance.getrandbits(64)}"
    if name == "filters" and isinstance(own, dict):
        owner = {"organizationId": ["usmf"], "productId": chance.choice([[], ["Bike"], ["Bike", "Helmet"]])}
        return {**owner, **(EXACT if "values" in own else chance.choice(FILTERS))}
    alike = [value for value in FITTING.get(name, []) if isinstance(value, type(own)) or not isinstance(value, (dict, list))]
    return chance.choice(alike) if alike else own


def fit(value, known, chance):
    if isinstance(value, list):
        return [fit(item, known, chance) for item in value]
    if not isinstance(value, dict):
        return value
    fitted = {}
    for name, own in value.items():
        is_wrong = name.lower() in RARELY_RIGHT or (known and name not in known)
        if chance.random() < 0.05:
            fitted[name] = own
        elif not is_wrong:
            fitted[name] = fit_property(name.lower(), own, chance)
    return fitted


def fitted(value, known=()):
    # Made of the value itself, so that a failure can be shrunk and found again.
    chance = random.Random(repr(value))
    if chance.random() < 0.5:
        chance = Best(repr(value))
    return fit(value, known, chance) if value else value


def properties(operation):
    """The names that the document has for a body's properties, or for those of its items."""
    document = operation.schema.raw_schema
    schema = operation.definition.raw["requestBody"]["content"]["application/json"]["schema"]
    schema = schema.get("items", schema)
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema.get("properties", {})


def in_one_form(line, chance):
    """A reservation says how much of what in one of two forms, whole; mostly."""
    if not isinstance(line, dict) or chance.random() < 0.2:
        return line
    forms = ["quantityDataSource", "modifier", "quantity", "quantities"]
    rest = {name: value for name, value in line.items() if name not in forms}
    if chance.random() < 0.3:
        return {**rest, "quantities": {"@iv": {"@softreserved": 1}}}
    return {**rest, "quantityDataSource": "@iv", "modifier": "@softreserved", "quantity": line.get("quantity", 1)}


def completed(line, known, chance):
    """What may be missing by the document, and is wanted all the same, here or in a header or by a rule; mostly."""
    if not isinstance(line, dict) or chance.random() < 0.2:
        return line
    wanted = {"id": f"event {chance.getrandbits(64)}", "physicalMeasures": FITTING["physicalmeasures"][0]}
    return {**line, **{name: value for name, value in wanted.items() if name in known and not line.get(name)}}


def of_each(body, change, chance):
    return [change(line, chance) for line in body] if isinstance(body, list) else change(body, chance)


@schemathesis.hook
def map_body(context, body):
    known = properties(context.operation)
    body = fitted(body, known)
    chance = random.Random(repr(body))
    body = of_each(body, lambda line, chance: completed(line, known, chance), chance)
    if not context.operation.definition.raw["operationId"].startswith("reserve"):
        return body
    return of_each(body, in_one_form, chance)


@schemathesis.hook
def map_query(context, query):
    query = fitted(query)
    # Groups in an address have a word before their names.
    if query and isinstance(query.get("groups"), dict):
        query = {**query, "groups": {f"group.{name}": value for name, value in query["groups"].items()}}
    return query


@schemathesis.hook
def map_headers(context, headers):
    return fitted(headers)


@schemathesis.check
def successes_are_documented_by_their_status(context, response, case):
    """`default` is for problems."""
    if response.status_code < 400:
        documented = case.operation.definition.raw["responses"]
        assert str(response.status_code) in documented, f"{response.status_code} is not documented"


@schemathesis.check
def problems_say_their_status_and_what_they_are(context, response, case):
    if response.status_code >= 400:
        problem = response.json()
        assert problem["status"] == response.status_code, problem
        assert problem["type"] == f"/problems/{problem['code']}", problem
        assert problem["detail"] and problem["processingStatus"] == "failure", problem


# How often an operation was answered by each status: one that is never done was not tested.
answered = Counter()


@schemathesis.hook
def after_call(context, case, response):
    answered[case.operation.definition.raw["operationId"], response.status_code] += 1


@atexit.register
def tell():
    if answered:
        with open(os.environ["CONTRACT_ANSWERED"], "w") as file:
            for (operation, status), count in sorted(answered.items()):
                file.write(f"{operation} {status} {count}\n")
