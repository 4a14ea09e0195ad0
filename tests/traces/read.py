"""What a collector says that it was sent."""

import re
import sys

path, trace, other = sys.argv[1:]
text = re.sub(r"\x1b\[[0-9;]*m", "", open(path).read())
assert other not in text, "a trace was sent that is not to be recorded"
assert "-> service.name: Str(shop)" in text, text

spans = {}
for block in re.split(r"^Span #\d+$", text, flags=re.M)[1:]:
    fields = dict(re.findall(r"^ {4}(Trace ID|Parent ID|ID|Name|Kind) +: (.*)$", block, flags=re.M))
    assert fields["Trace ID"] == trace, fields
    fields["links"] = re.findall(r"-> Trace ID: (\w+)\n +-> ID: (\w+)", block)
    fields["attributes"] = dict(re.findall(r"^ +-> ([\w.]+): \w+\((.*)\)$", block, flags=re.M))
    assert fields["Name"] not in spans, fields
    spans[fields["Name"]] = fields

route = "/api/environment/{environmentId}/onhand"
request, queue, batch, commit = (spans.pop(name) for name in [f"POST {route}", "queue", "batch", "commit"])
assert not spans, spans
assert (request["Parent ID"], request["Kind"]) == ("00f067aa0ba902b7", "SPAN_KIND_SERVER"), request
assert request["attributes"]["http.route"] == route, request
assert request["attributes"]["http.response.status_code"] == "200", request
assert queue["Parent ID"] == batch["Parent ID"] == request["ID"], (queue, batch)
assert queue["links"] == [(trace, batch["ID"])], queue
assert (commit["Parent ID"], commit["Kind"]) == (batch["ID"], "SPAN_KIND_CLIENT"), commit
assert len({span["ID"] for span in (request, queue, batch, commit)}) == 4
print("a collector read one trace, from the request through its batch to the commit")
