// The story of 250 bikes, by the TypeScript client whose types are generated from openapi.yaml.

import createClient from "openapi-fetch";
import type { components, paths } from "./ringfence.js";

declare const process: { argv: [string, string, string] };

type Problem = components["schemas"]["Problem"];
type Answer = components["schemas"]["CommandAnswer"];

const client = createClient<paths>({ baseUrl: process.argv[2] });
const params = { path: { environmentId: "typescript" } };

const vip = { channel: "Web", region: "London", customerGroup: "VIP" };
const regular = { channel: "Web", region: "London", customerGroup: "Regular" };
const bike = {
  organizationId: "usmf",
  productId: "GravelBike",
  dimensions: { siteId: "1", locationId: "11", colorId: "red" },
};

function same(found: unknown, expected: unknown): void {
  const [left, right] = [JSON.stringify(found), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${left} is not ${right}`);
}

function done<T>({ data, error }: { data?: T; error?: Problem }): T {
  if (data === undefined) throw new Error(error?.detail ?? "no answer");
  return data;
}

function refused({ error }: { data?: Answer; error?: Problem }, code: string, requested: number, available: number): Problem {
  if (error === undefined) throw new Error(`not refused: ${code}`);
  same([error.code, error.requested, error.available], [code, requested, available]);
  same([error.status, error.processingStatus], [409, "failure"]);
  return error;
}

const changed = await client.PUT("/api/environment/{environmentId}/configuration", {
  params,
  body: {
    dimensions: ["siteId", "locationId", "colorId", "sizeId"],
    requiredDimensions: 2,
    dataSources: { pos: { measures: ["inbound", "outbound"] } },
    allocation: {
      groups: ["channel", "region", "customerGroup"],
      availableToAllocate: "pos.inbound - pos.outbound - @iv.@allocated",
    },
  },
});
same(done(changed).warnings, []);

const stock = { id: "delivery-1", ...bike, quantities: { pos: { inbound: 250 } } };
const arrived = done(await client.POST("/api/environment/{environmentId}/onhand", { params, body: stock }));
same([arrived.version, arrived.availableToAllocate], [1, 250]);

const allocate = "/api/environment/{environmentId}/allocation/allocate";
const ringFence = { id: "promotion-1", ...bike, groups: vip, quantity: 200 };
const fenced = done(await client.POST(allocate, { params, body: ringFence }));
same([fenced.balance?.allocated, fenced.availableToAllocate], [200, 50]);

const stores = { id: "stores-1", ...bike, groups: { channel: "Store" }, quantity: 60 };
const problem = refused(await client.POST(allocate, { params, body: stores }), "insufficient-available-to-allocate", 60, 50);
same(problem.limitedBy, bike.dimensions);

const move = { id: "move-1", ...bike, sourceGroups: vip, groups: regular, quantity: 40 };
const moved = done(await client.POST("/api/environment/{environmentId}/allocation/reallocate", { params, body: move }));
same([moved.balance?.allocated, moved.sourceBalance?.allocated], [40, 160]);

const consume = "/api/environment/{environmentId}/allocation/consume";
const physicalMeasures = { pos: { outbound: "Addition" as const } };
const three = { id: "order-1", ...bike, groups: vip, quantity: 3, physicalMeasures };
const first = done(await client.POST(consume, { params, body: three }));
same([first.balance?.allocated, first.balance?.consumed], [157, 3]);
const again = await client.POST(consume, { params, body: three });
same(again.response.headers.get("Idempotent-Replayed"), "true");
same(done(again), first);

const many = { id: "order-2", ...bike, groups: regular, quantity: 41, physicalMeasures };
refused(await client.POST(consume, { params, body: many }), "insufficient-allocation", 41, 40);

const question = { ...bike, groups: { channel: "Web" } };
const left = done(await client.POST("/api/environment/{environmentId}/allocation/query", { params, body: question }));
same(left.map((record) => [record.groups, record.quantities["@iv"]["@allocated"]]), [[regular, 40], [vip, 157]]);

const filters = { organizationId: ["usmf"], productId: ["GravelBike"], siteId: ["1"], locationId: ["11"] };
const body = { filters, groupByValues: ["colorId"], returnNegative: true };
const records = done(await client.POST("/api/environment/{environmentId}/onhand/indexquery", { params, body }));
same(records.map(({ quantities }) => [quantities["pos"]?.["outbound"], quantities["@iv"]?.["@available_to_allocate"]]), [[3, 50]]);

console.log("TypeScript: the story is true");
