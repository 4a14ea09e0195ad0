// The stock of the story, and what is asked of the books beside the page.

export const ORGANIZATION = "usmf";
export const RED = { siteId: "1", locationId: "11", colorId: "red" };
export const VIP = { channel: "Web", region: "London", customerGroup: "VIP" };
export const REGULAR = { channel: "Web", region: "London", customerGroup: "Regular" };
export const STORE = { channel: "Store" };

/** What the page's address says of a product. */
export const of = (product, more = {}) => ({ environment: "demo", organizationId: ORGANIZATION, productId: product, ...more });

let count = 0;
const id = () => `story-${++count}`;

/** What can be done with stock, by a function that sends to one service. */
export function stockBy(done) {
  const command = (path) => (productId, dimensions, more) => done("POST", path, { id: id(), organizationId: ORGANIZATION, productId, dimensions, ...more });
  const stock = (productId, dimensions, inbound) => command("onhand")(productId, dimensions, { quantities: { pos: { inbound } } });
  const allocate = (productId, dimensions, groups, quantity) => command("allocation/allocate")(productId, dimensions, { groups, quantity });
  const consume = (productId, dimensions, groups, quantity, more = {}) => command("allocation/consume")(productId, dimensions, { groups, quantity, physicalMeasures: { pos: { outbound: "Addition" } }, ...more });

  /** What is left of exactly one balance. */
  async function left(productId, dimensions, groups) {
    const found = await done("POST", "allocation/query", { organizationId: ORGANIZATION, productId, dimensions, groups });
    const own = found.find((record) => Object.keys(record.groups).length === Object.keys(groups).length);
    return own?.quantities["@iv"]["@allocated"];
  }

  /** The story's product: three colours at two places, allocated to channels, regions and customers. */
  async function prepare(productId) {
    const black = { ...RED, colorId: "black" }, south = { siteId: "2", locationId: "21", colorId: "red" };
    for (const [place, inbound] of [[RED, 250], [black, 120], [south, 80]]) {
      await stock(productId, { ...place, sizeId: "M" }, inbound * 0.6);
      await stock(productId, { ...place, sizeId: "L" }, inbound * 0.4);
    }
    await allocate(productId, RED, VIP, 120);
    await allocate(productId, RED, REGULAR, 60);
    await allocate(productId, RED, STORE, 40);
    await allocate(productId, black, { channel: "Web", region: "London" }, 50);
    await allocate(productId, black, { channel: "Web", region: "Leeds" }, 30);
    await allocate(productId, south, { channel: "Partner" }, 45);
  }

  return { stock, allocate, consume, left, prepare };
}
