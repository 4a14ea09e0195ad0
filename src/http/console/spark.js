// A line of what was consumed a minute: the shape only, its figures are in text beside it.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 90, HEIGHT = 20;

/** An empty sparkline. */
export function makeSpark() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("class", "spark");
  svg.setAttribute("aria-hidden", "true");
  for (const name of ["area", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  return svg;
}

/** Draws values, each as high as it is of the highest. */
export function drawSpark(svg, values) {
  const highest = Math.max(...values, 0);
  const step = WIDTH / Math.max(values.length - 1, 1);
  const points = values.map((value, index) => `${(index * step).toFixed(1)} ${(HEIGHT - 1 - (value / (highest || 1)) * (HEIGHT - 3)).toFixed(1)}`);
  const line = highest > 0 ? `M${points.join("L")}` : "";
  const [area, stroke] = svg.children;
  stroke.setAttribute("d", line);
  area.setAttribute("d", line && `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
}
