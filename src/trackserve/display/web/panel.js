// Controls, and the numbers of what was chosen.

import { hitsOf, stateOf } from "./kinds.js";

const NAMES = {
  "-11": "e+", 11: "e−", "-13": "μ+", 13: "μ−", 211: "π+", "-211": "π−", 321: "K+", "-321": "K−",
  2212: "p", "-2212": "anti-p", 3112: "Σ−", 3222: "Σ+", 3312: "Ξ−", "-3312": "anti-Ξ+",
};

export function make(name, properties = {}, ...children) {
  const { dataset, ...plain } = properties;
  const found = Object.assign(document.createElement(name), plain);
  Object.assign(found.dataset, dataset);
  found.append(...children);
  return found;
}

export const number = (value, digits = 3) =>
  Number.isFinite(value) ? Number(value.toPrecision(digits)).toString().replace("-", "−") : "∞";

const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");

// A check box with a mark of its colour and the number of its things.
export function toggle(key, text, { colour, dot, checked, count }, changed) {
  const box = make("input", { type: "checkbox", checked, dataset: { key } });
  box.addEventListener("change", () => changed(key, box.checked));
  const mark = make("span", { className: dot ? "mark dot" : "mark" });
  mark.style.background = `var(--${colour})`;
  const n = make("span", { className: "count", dataset: { count: key } }, count ?? "");
  return make("label", { className: "line" }, box, mark, text, n);
}

// A slider over a list of values.
export function slider(key, text, values, value, show, changed) {
  const shown = make("output", {}, show(value));
  const at = Math.max(0, values.indexOf(value));
  const input = make("input", {
    type: "range", min: 0, max: values.length - 1, step: 1, value: at, dataset: { key },
  });
  input.setAttribute("aria-label", text);
  input.addEventListener("input", () => {
    shown.textContent = show(values[input.value]);
    changed(key, values[input.value]);
  });
  return make("label", { className: "cut" }, make("span", {}, text), input, shown);
}

export function choices(key, options, value, changed) {
  return make("div", { className: "row" }, ...options.map(([name, text, tip]) => {
    const button = make("button", { textContent: text, title: tip, dataset: { [key]: name } });
    button.ariaPressed = String(name === value);
    button.addEventListener("click", () => changed(name));
    return button;
  }));
}

export function numbers(rows) {
  const cells = rows.filter(([, value]) => value !== null).map(([name, value]) =>
    make("tr", {}, make("th", { textContent: name }), make("td", { textContent: value })));
  return make("table", { className: "numbers" }, make("tbody", {}, ...cells));
}

const known = (value, text) => (Number.isFinite(value) ? text(value) : null);

function particleText(rows, row) {
  const name = NAMES[rows.pdg[row]] ?? (rows.pdg[row] ? `PDG ${rows.pdg[row]}` : "particle");
  return `${name}, pT ${number(rows.pt[row])} GeV, η ${fixed(rows.eta[row], 2)}`;
}

// The numbers of a track or of a particle.
function numbersOf(kind, row, event) {
  const rows = kind.rows;
  const shared = [
    ["state", { seen: "found", other: "not to be found", unknown: null }[stateOf(kind, row)]
      ?? (stateOf(kind, row) === "unknown" ? null : stateOf(kind, row))],
    ["pT", `${number(rows.pt[row])} GeV`],
    ["η", fixed(rows.eta[row], 3)],
    ["φ", fixed(rows.phi[row], 3)],
    ["charge", rows.charge[row] ? (rows.charge[row] > 0 ? "+1" : "−1") : null],
  ];
  if (kind.name === "particles") {
    const vertex = rows.vertex[row];
    const z = vertex < 0 || !event.collisions ? NaN : event.collisions.position[3 * vertex + 2];
    return [...shared, ["collision at z", known(z, one => `${fixed(one, 1)} mm`)]];
  }
  const matched = rows.particle[row];
  const vertex = rows.vertex[row];
  return [
    ...shared,
    ["tip", known(rows.tip[row], one => `${fixed(1e3 * one, 0)} µm`)],
    ["z0", known(rows.z0[row], one => `${fixed(one, 2)} mm`)],
    ["χ² / ndof", known(rows.chi2[row], one => `${number(one)} / ${rows.ndof[row]}`)],
    ["score", known(rows.score[row], one => fixed(one, 3))],
    ["vertex", vertex < 0 ? null : `${vertex + 1}, z ${fixed(event.vertices.position[3 * vertex + 2], 1)} mm`],
    ["particle", matched < 0 || !event.particles ? null : particleText(event.particles, matched)],
  ];
}

function hitTable(kind, row, event, layers) {
  const head = ["layer", "r, mm", "φ", "z, mm"].map(text => make("th", { textContent: text }));
  const lines = [...hitsOf(kind, row)].map(hit => {
    const [x, y, z] = event.hits.position.subarray(3 * hit, 3 * hit + 3);
    const cells = [
      layers[event.hits.layer[hit]] ?? `hit ${hit}`,
      fixed(Math.hypot(x, y), 1), fixed(Math.atan2(y, x), 3), fixed(z, 1),
    ];
    return make("tr", {}, ...cells.map(text => make("td", { textContent: text })));
  });
  return make("table", { className: "hits" },
    make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...lines));
}

// Fill the box of the chosen track or particle.
export function showChosen(box, kind, row, event, layers, actions) {
  box.hidden = !kind;
  if (!kind) return box.replaceChildren();
  const title = kind.name === "tracks" ? `Track ${row}` : `Particle: ${
    NAMES[kind.rows.pdg[row]] ?? kind.rows.pdg[row]}`;
  const close = make("button", { className: "close", textContent: "✕", title: "Escape" });
  close.addEventListener("click", actions.close);
  const buttons = make("div", { className: "row" });
  if (kind.name === "tracks" && kind.rows.vertex[row] >= 0) {
    const only = make("button", { textContent: "only its vertex" });
    only.addEventListener("click", () => actions.vertex(kind.rows.vertex[row]));
    buttons.append(only);
  }
  if (kind.name === "tracks" && kind.rows.particle[row] >= 0) {
    const its = make("button", { textContent: "its particle" });
    its.addEventListener("click", () => actions.particle(kind.rows.particle[row]));
    buttons.append(its);
  }
  box.replaceChildren(close, make("h3", { textContent: title }),
    numbers(numbersOf(kind, row, event)), hitTable(kind, row, event, layers), buttons);
}
