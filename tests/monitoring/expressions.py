"""Every expression of the dashboard and of the alert rules, asked of a Prometheus that reads the service."""

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

service, prometheus, docs = sys.argv[1:]
PATIENCE_SECONDS = 60


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def ask(expression):
    answer = get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    assert answer["status"] == "success", (expression, answer)
    return answer["data"]["result"]


def send(path, body):
    request = urllib.request.Request(
        f"{service}/api/environment/demo/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=10).read()
    except urllib.error.HTTPError as refusal:
        assert refusal.code == 409, refusal.read()


def wait_for(what, holds):
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if holds():
                return
        except urllib.error.HTTPError as refusal:
            if refusal.code != 503:
                raise  # Prometheus has no such expression
        except OSError:
            pass  # it does not listen yet, or takes long
        assert time.monotonic() < end, f"not in time: {what} {missing}"
        time.sleep(0.2)


def use_it(number):
    """One command that is granted and one that is refused."""
    red = {"siteId": "1", "locationId": "11", "colorId": "red"}
    product = {"organizationId": "usmf", "productId": "GravelBike", "dimensions": red}
    groups = {"channel": "Web", "region": "London", "customerGroup": "Regular"}
    send("onhand", {"id": f"stock-{number}", **product, "quantities": {"pos": {"inbound": 1}}})
    send("allocation/consume", {"id": f"order-{number}", **product, "groups": groups, "quantity": 1e9,
                                "physicalMeasures": {"pos": {"outbound": "Addition"}}})


def matchers(labels):
    """Of what may not have happened yet, a refusal of a kind or a failure, the label must be there all the same."""
    return re.sub(r'\b(code|http_response_status_code)=~?"[^"]*"', r'\1!=""', labels)


def expressions():
    dashboard = json.load(open(f"{docs}/dashboard.json"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")
    for line in open(f"{docs}/alerts.yml"):
        if found := re.match(r"\s+expr: (.*)", line):
            yield "alert", found[1]


METRIC = r'\b((?:ringfence|http_server)_\w+)(\{(?:[^}"]|"[^"]*")*\})?'
count = 0
missing = []
wait_for("Prometheus reads the service", lambda: ask('up{job="ringfence"} == 1'))

# Nobody has asked anything yet. What an alert sees the increase of must be there: the first is seen to come.
for where, expression in expressions():
    for name, labels in re.findall(r"(?:increase|delta)\(" + METRIC, expression):
        if where == "alert":
            # Where the service was read late once, Prometheus has nothing of it until it is read again.
            wait_for(f"{name}{labels} is there before the first happens", lambda: ask(f"{name}{labels}"))


def everything_is_there():
    global count
    count += 1
    use_it(count)
    for where, expression in expressions():
        # What a threshold is held against, and what a quotient is made of, must be there by itself.
        for name, labels in re.findall(METRIC, expression):
            if not ask(f"{name}{matchers(labels)}"):
                missing[:] = [name, labels]
                return False
        if where != "alert" and not ask(expression):
            return False
    return True


wait_for("every expression finds something", everything_is_there)
total = len(list(expressions()))
assert total > 20, total
codes = set(re.findall(r'code="([a-z-]+)"', open(f"{docs}/alerts.yml").read()))
for code in codes:
    urllib.request.urlopen(f"{service}/problems/{code}", timeout=10).read()
print(f"{total} expressions find what they read; {len(codes)} codes of alerts are known")
