// A coarse heat map, interpolated over an image in colours of evenly rising lightness (inferno).

const STOPS = [
  "000004", "0b0724", "210c4a", "3d0965", "57106e", "71196e", "8a226a", "a32c61", "bc3754", "d24644", "e45a31", "f1731d",
  "f98e09", "fcac11", "f9cb35", "f2ea69", "fcffa4",
].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

const LONGEST = 384; // pixels of the canvas; the browser enlarges it further

// Indices of the two neighbours of each pixel among `coarse` samples, and the weight of the second; samples lie in the
// centres of their cells.
function neighbours(fine, coarse) {
  return Array.from({ length: fine }, (_, place) => {
    const at = Math.min(Math.max(((place + 0.5) * coarse) / fine - 0.5, 0), coarse - 1);
    const first = Math.floor(at);
    return [first, Math.min(first + 1, coarse - 1), at - first];
  });
}

// Paint `heat` (h, w), 0 or more, bilinear and scaled to its maximum, for an image of this shape. False, and an empty canvas, if it is all 0.
export function paint(canvas, heat, width, height) {
  const scale = LONGEST / Math.max(width, height);
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const most = Math.max(...heat.map((row) => Math.max(...row)));
  if (!(most > 0)) return false;
  const across = neighbours(canvas.width, heat[0].length);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  let at = 0;
  for (const [top, bottom, down] of neighbours(canvas.height, heat.length)) {
    for (const [left, right, aside] of across) {
      const upper = heat[top][left] * (1 - aside) + heat[top][right] * aside;
      const lower = heat[bottom][left] * (1 - aside) + heat[bottom][right] * aside;
      const shade = ((upper * (1 - down) + lower * down) / most) * (STOPS.length - 1);
      const step = Math.min(Math.floor(shade), STOPS.length - 2);
      for (let channel = 0; channel < 3; channel += 1) {
        const [from, to] = [STOPS[step][channel], STOPS[step + 1][channel]];
        pixels.data[at + channel] = from + (to - from) * (shade - step);
      }
      pixels.data[at + 3] = 255;
      at += 4;
    }
  }
  context.putImageData(pixels, 0, 0);
  return true;
}
