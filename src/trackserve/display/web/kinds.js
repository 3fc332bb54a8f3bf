// Kinds of rows with lines: tracks and particles. What they are, and which of them are shown.

export const TRACK_STATES = ["unknown", "found", "duplicate", "fake"];
export const PARTICLE_STATES = ["other", "seen", "missed"];

export const PT_RANGE = [0.2, 10]; // GeV; colours end there

const HUES = 12;

export function pieceOf(kind, row) {
  const offsets = kind.paths.offsets;
  return [offsets[row], offsets[row + 1]];
}

export function hitsOf(kind, row) {
  const { offsets, values } = kind.rows.hits;
  return values.subarray(offsets[row], offsets[row + 1]);
}

// Tracks and particles of an event in one form.
export function kindsOf(event) {
  const kinds = {
    tracks: { name: "tracks", rows: event.tracks, paths: event.paths, states: TRACK_STATES },
  };
  if (event.particles) {
    kinds.particles = {
      name: "particles", rows: event.particles, paths: event.particle_paths,
      states: PARTICLE_STATES,
    };
  }
  for (const kind of Object.values(kinds)) kind.n = kind.paths.offsets.length - 1;
  return kinds;
}

export function stateOf(kind, row) {
  return kind.states[kind.rows.match[row]];
}

// Whether a row passes the cuts, whatever its state is.
export function passes(kind, row, cuts) {
  const { pt, eta, hits, vertex } = kind.rows;
  if (!(pt[row] >= cuts.pt) || Math.abs(eta[row]) > cuts.eta) return false;
  if (hits.offsets[row + 1] - hits.offsets[row] < cuts.hits) return false;
  return kind.name !== "tracks" || cuts.vertex === "all" || vertex[row] === Number(cuts.vertex);
}

export function shownRows(kind, shown, cuts) {
  const rows = [];
  for (let row = 0; row < kind.n; row++)
    if (shown[stateOf(kind, row)] && passes(kind, row, cuts)) rows.push(row);
  return rows;
}

// Colour of a row as [r, g, b], 0..255.
export function colourOf(kind, row, by, theme) {
  if (by === "vertex") {
    const vertex = kind.rows.vertex[row];
    return vertex < 0 ? theme.other : theme.hues[vertex % HUES];
  }
  if (by === "pt") {
    const [low, high] = PT_RANGE;
    const share = Math.log(Math.max(kind.rows.pt[row], low) / low) / Math.log(high / low);
    return theme.ramp[Math.min(theme.ramp.length - 1, Math.floor(share * theme.ramp.length))];
  }
  return theme[stateOf(kind, row)];
}

function fromHsl(hue, saturation, light) {
  const part = n => {
    const k = (n + hue / 30) % 12;
    const a = saturation * Math.min(light, 1 - light);
    return Math.round(255 * (light - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

// Colours of the page's style, as [r, g, b]; and those of vertices and momenta.
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = [
    ...TRACK_STATES, ...PARTICLE_STATES, "back", "hit", "used", "detector", "vertex", "collision",
    "edge0", "edge1", "edge2", "select",
  ];
  const parse = text => [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
  const theme = Object.fromEntries(names.map(name => {
    return [name, parse(style.getPropertyValue(`--${name}`).trim())];
  }));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const light = dark ? 0.65 : 0.42;
  theme.hues = Array.from({ length: HUES }, (_, i) => fromHsl((i * 150 + 210) % 360, 0.62, light));
  theme.ramp = Array.from({ length: 32 }, (_, i) => fromHsl(230 - i * 7, 0.75, light));
  theme.dark = dark;
  return theme;
}
