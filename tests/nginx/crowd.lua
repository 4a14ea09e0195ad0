-- Each request reports stock of one product, under an id of its own.
local run, products, count = os.getenv("RUN"), tonumber(os.getenv("PRODUCTS")), 0
local body = '{"id":"%s-%d","organizationId":"usmf","productId":"Bike %d","dimensions":{"siteId":"1"},"quantities":{"pos":{"inbound":1}}}'

function request()
  count = count + 1
  local product = math.random(products)
  local headers = { ["content-type"] = "application/json", ["ringfence-product"] = "Bike " .. product, ["authorization"] = "Bearer " .. os.getenv("TRUST_KEY") }
  return wrk.format("POST", "/api/environment/trust/onhand", headers, body:format(run, count, product))
end
