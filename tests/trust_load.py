#!/usr/bin/env python3
"""An outside client that writes down every answer, and the audit of what it wrote.

  trust_load.py load URL LOG [CLIENTS [PRODUCTS]]
                                         commands until SIGTERM; each is sent until it is done
  trust_load.py audit LOG < LEDGER       holds the log against "id<TAB>event_id" of the ledger
  trust_load.py audit LOG THEN ALL < LEDGER
                                         the same of a ledger that ends at a moment: LOG was acknowledged
                                         before it, THEN soon after it, ALL in the end
  trust_load.py balances URL LOG         holds it against what the service says of the balances

A line of LOG is an acknowledgement: seconds, id, event id, operation, product.
Needs nothing but Python 3.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

ENVIRONMENT = "/api/environment/trust/"
# An admin's key, where the service wants one.
KEY = os.environ.get("TRUST_KEY")
PRODUCTS = ["Bike", "Helmet", "Bell"]
# Enough of everything that nothing is ever refused.
STOCK, SET_ASIDE = 10**9, 10**8
# What a client does, over and over.
TURN = ["consume", "allocate", "consume", "unallocate", "consume"]
# Longest without an answer that is not counted as a gap.
GAP_MIN = 1.0
PROXY_KNOWS_NOTHING = (502, 504)
GROUPS = {"channel": "Online"}
PLACE = {"siteId": "1", "locationId": "11"}
CONFIGURATION = {
    "dimensions": ["siteId", "locationId"],
    "requiredDimensions": 2,
    "dataSources": {"pos": {"measures": ["inbound", "outbound"]}},
    "allocation": {
        "groups": ["channel"],
        "availableToAllocate": "pos.inbound - pos.outbound - @iv.@allocated",
    },
}


class Service:
    """One connection to the service, made again when it breaks."""

    def __init__(self, url):
        self.address = urlsplit(url).netloc
        self.connection = None

    def send(self, method, path, body):
        """The status and the answer; None where there was no answer."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.address, timeout=30)
            headers = {"content-type": "application/json"}
            if KEY:
                headers["authorization"] = "Bearer " + KEY
            if "productId" in body:
                headers["ringfence-product"] = body["productId"]
            self.connection.request(method, ENVIRONMENT + path, json.dumps(body), headers)
            response = self.connection.getresponse()
            text = response.read()
            # A proxy's word, which knows nothing of what became of it.
            if response.status in PROXY_KNOWS_NOTHING:
                return None
            return response.status, json.loads(text)
        except (OSError, http.client.HTTPException):
            self.connection = None
            return None

    def settle(self, method, path, body):
        """Sends until it is known what became of it."""
        while True:
            answer = self.send(method, path, body)
            if answer is not None and answer[0] == 200:
                return answer[1]
            if answer is not None and answer[0] != 503:
                # Without waiting for the other clients, who go on.
                print(f"{path} {body} was answered {answer}", file=sys.stderr, flush=True)
                os._exit(1)
            time.sleep(0.05)


def command(operation, id, product, quantity):
    body = {"id": id, "organizationId": "usmf", "productId": product, "dimensions": PLACE}
    if operation == "stock":
        return "onhand", {**body, "quantities": {"pos": {"inbound": quantity}}}
    body |= {"groups": GROUPS, "quantity": quantity}
    if operation == "consume":
        body["physicalMeasures"] = {"pos": {"outbound": "Addition"}}
    return "allocation/" + operation, body


class Log:
    def __init__(self, path):
        self.file, self.lock = open(path, "a"), threading.Lock()

    def done(self, id, event_id, operation, product):
        with self.lock:
            self.file.write(f"{time.time():.3f}\t{id}\t{event_id}\t{operation}\t{product}\n")
            self.file.flush()


def acknowledge(service, log, operation, id, product, quantity):
    answer = service.settle("POST", *command(operation, id, product, quantity))
    log.done(id, answer["eventId"], operation, product)


def load(url, path, clients=16, products=len(PRODUCTS)):
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    log, service = Log(path), Service(url)
    names = (PRODUCTS + [f"Bike {number}" for number in range(int(products))])[: int(products)]
    service.settle("PUT", "configuration", CONFIGURATION)
    for product in names:
        acknowledge(service, log, "stock", f"stock-{product}", product, STOCK)
        acknowledge(service, log, "allocate", f"share-{product}", product, SET_ASIDE)

    def client(number):
        own, count = Service(url), 0
        while not stop.is_set():
            operation, product = TURN[count % len(TURN)], names[(number + count) % len(names)]
            acknowledge(own, log, operation, f"{number}-{count}", product, 1)
            count += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(int(clients))]
    for thread in threads:
        thread.start()
    # Each ends with its last command done, so that nothing is left unknown.
    for thread in threads:
        thread.join()


def read(path):
    with open(path) as lines:
        return [line.rstrip("\n").split("\t") for line in lines]


def later(then, all):
    """What was sent after a moment: of each client all but the one command that may have been under way."""
    known, under_way, late = {id for _, id, *_ in read(then)}, set(), set()
    for _, id, *_ in read(all):
        client = id.partition("-")[0]
        if id not in known:
            (late if client in under_way else under_way).add(id)
            under_way.add(client)
    return late


def audit(path, then=None, all=None):
    acknowledged = read(path)
    ledger = [line.rstrip("\n").split("\t") for line in sys.stdin]
    times = Counter(id for id, _ in ledger)
    events = dict(ledger)
    lost = [id for _, id, event, *_ in acknowledged if events.get(id) != event]
    doubled = [id for id, count in times.items() if count > 1]
    unheard = events.keys() - {id for _, id, *_ in (read(all) if all else acknowledged)}
    moments = [float(moment) for moment, *_ in acknowledged]
    gaps = [after - before for before, after in zip(moments, moments[1:]) if after - before > GAP_MIN]
    print(
        f"{len(acknowledged)} acknowledged, {len(lost)} lost, {len(doubled)} doubled, {len(unheard)} never heard of"
    )
    shown = ", ".join(f"{gap:.1f}" for gap in gaps)
    print(f"seconds without an answer, longer than {GAP_MIN:.0f} s: {shown or 'none'}")
    if lost or doubled or unheard:
        sys.exit(f"lost {lost[:5]}, doubled {doubled[:5]}, never heard of {sorted(unheard)[:5]}")
    if all:
        late = later(then, all)
        kept = late & events.keys()
        print(f"of {len(late)} that were sent after the moment {len(kept)} are there")
        if kept or not late:
            sys.exit(f"sent after the moment, and there: {sorted(kept)[:5]}")


def balances(url, path):
    service = Service(url)
    for product in sorted({product for *_, product in read(path)}):
        did = Counter(operation for _, _, _, operation, of in read(path) if of == product)
        allocated = SET_ASIDE + (did["allocate"] - 1) - did["unallocate"] - did["consume"]
        query = {"organizationId": "usmf", "productId": product, "dimensions": PLACE}
        [record] = service.settle("POST", "allocation/query", query)
        held = record["quantities"]["@iv"]
        if (held["@allocated"], held["@consumed"]) != (allocated, did["consume"]):
            sys.exit(f"{product}: {held}, but acknowledged were {dict(did)}")
    print("the balances are what was acknowledged")


if __name__ == "__main__":
    {"load": load, "audit": audit, "balances": balances}[sys.argv[1]](*sys.argv[2:])
