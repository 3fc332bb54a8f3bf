// The scene: its description from JSON, its numbers from one compressed block.

const TYPES = {
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, float32: Float32Array,
};

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), one => one.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function resolve(value, block) {
  if (Array.isArray(value)) return value.map(one => resolve(one, block));
  if (value === null || typeof value !== "object") return value;
  if ("at" in value && "type" in value) {
    const found = new TYPES[value.type](block, value.at, value.n);
    return "step" in value ? Float32Array.from(found, one => one * value.step) : found;
  }
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolve(one, block)]));
}

export async function loadScene() {
  const described = JSON.parse(document.getElementById("scene").textContent);
  return resolve(described, await unpack(document.getElementById("numbers").textContent));
}
