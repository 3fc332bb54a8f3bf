// Shows the scene of the page: what is shown is a state; every change of it draws anew.

import { loadScene } from "./data.js";
import { hitsOf, kindsOf, PT_RANGE, readTheme, shownRows } from "./kinds.js";
import { choices, make, number, numbers, showChosen, slider, toggle } from "./panel.js";
import { Picture, projected } from "./picture.js";

const VIEWS = [["3d", "3D", "1"], ["xy", "r-φ", "2"], ["rz", "r-z", "3"]];
const COLOURS = [["match", "match"], ["vertex", "vertex"], ["pt", "pT"]];
const CUTS = {
  pt: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.5, 2, 3, 5, 10, 20],
  eta: [0.5, 1, 1.5, 2, 2.5, 3, 4, Infinity],
  hits: [0, 3, 4, 5, 6, 8, 10, 12],
};
const KEYS = [
  ["1 2 3", "in space, r-φ, r-z"], ["← →", "event before, after"], ["n p", "next, previous track"],
  ["h", "hits"], ["d", "detector"], ["v", "vertices"], ["m", "missed particles"],
  ["f", "only fakes, or all tracks"], ["c", "colour by match, vertex, pT"], ["0", "look at all"],
  ["Esc", "nothing chosen"], ["?", "this help"],
];

const READABLE = 300;

// The lowest cut on pT that leaves so few tracks that an eye can follow them.
function readable(pt) {
  const few = cut => pt.filter(one => one >= cut).length <= READABLE;
  return CUTS.pt.find(few) ?? CUTS.pt.at(-1);
}

const at = id => document.getElementById(id);

class Display {
  constructor(scene) {
    this.scene = scene;
    this.theme = readTheme();
    this.state = {
      event: 0, view: "3d", colour: "match", chosen: null,
      shown: {
        unknown: true, found: true, duplicate: true, fake: true, seen: false, missed: true,
        other: false, detector: true, used: true, hits: true, vertices: true, collisions: false,
      },
      cuts: { pt: readable(scene.events[0].tracks.pt), eta: Infinity, hits: 0, vertex: "all" },
    };
    this.stages = Object.keys(scene.events[0].edges);
    this.readHash();
    this.picture = new Picture(at("picture"), () => this.ask(), () => this.update());
    const { solid } = scene.detector;
    const far = (points, of) => {
      let most = 0;
      for (let i = 0; i < points.length; i += 3) most = Math.max(most, of(points, i));
      return most;
    };
    const source = solid.length ? solid : scene.events[0].hits.position;
    this.extent = [
      far(source, (p, i) => Math.hypot(p[i], p[i + 1])), far(source, (p, i) => Math.abs(p[i + 2])),
    ];
    for (const [view] of VIEWS) {
      this.picture.setView(view);
      this.picture.home(this.extent);
    }
    this.picture.setView(this.state.view);
    this.buildBar();
    this.setEvent(this.state.event);
    this.listen();
  }

  get event() {
    return this.scene.events[this.state.event];
  }

  // What the address asks for, as in #view=rz&event=1&pt=1&hide=hits,detector&show=seen
  readHash() {
    const { state } = this;
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      if (key === "event") {
        state.event = Math.min(this.scene.events.length - 1, Math.max(0, Number(value) || 0));
      } else if (key === "view" && VIEWS.some(([name]) => name === value)) state.view = value;
      else if (key === "colour" && COLOURS.some(([name]) => name === value)) state.colour = value;
      else if (key in CUTS && value !== "") state.cuts[key] = Number(value);
      else if (key === "show" || key === "hide")
        for (const name of value.split(",")) state.shown[name] = key === "show";
      else if (key === "track") state.chosen = { kind: "tracks", row: Number(value) };
      else if (key === "particle") state.chosen = { kind: "particles", row: Number(value) };
    }
  }

  setEvent(index) {
    const chosen = index === this.state.event ? this.state.chosen : null;
    this.state.event = index;
    this.kinds = kindsOf(this.event);
    this.state.cuts.vertex = "all";
    const kind = chosen && this.kinds[chosen.kind];
    this.state.chosen = kind && chosen.row >= 0 && chosen.row < kind.n ? chosen : null;
    this.buildPanel();
    this.update();
  }

  buildPanel() {
    const { event, scene, state } = this;
    const shown = (key, on) => {
      state.shown[key] = on;
      this.update();
    };
    const line = (key, text, colour, dot = false, count = "") =>
      toggle(key, text, { colour, dot, checked: Boolean(state.shown[key]), count }, shown);
    const heading = text => make("h2", { textContent: text });
    const parts = [
      make("h1", { textContent: scene.title }),
      make("p", { className: "small", textContent: scene.detector.name, title: scene.identity }),
      heading("View"),
      choices("view", VIEWS, state.view, view => this.setView(view)),
      heading("Tracks"),
    ];
    if (event.particles) {
      parts.push(line("found", "found", "found"), line("duplicate", "duplicates", "duplicate"),
        line("fake", "fakes", "fake"), heading("Truth"), line("missed", "missed", "missed"),
        line("seen", "found", "seen"), line("other", "others", "other"));
      if (event.collisions.position.length)
        parts.push(line("collisions", "collisions", "collision", true,
          event.collisions.position.length / 3));
    } else parts.push(line("unknown", "tracks", "unknown"));
    parts.push(heading("Found things"), line("used", "hits on shown tracks", "used", true),
      line("hits", "other hits", "hit", true));
    if (event.vertices.position.length)
      parts.push(line("vertices", "vertices", "vertex", true, event.vertices.position.length / 3));
    parts.push(line("detector", "detector", "detector"));
    if (this.stages.length) {
      parts.push(heading("Edges after"));
      this.stages.forEach((stage, i) => {
        const n = event.edges[stage].length / 2;
        parts.push(line(`edges ${stage}`, stage, `edge${i}`, false, n));
      });
      if (event.sector) parts.push(make("p", { className: "small", textContent: event.sector }));
    }
    const cut = (key, value) => {
      state.cuts[key] = value;
      this.update();
    };
    const any = (before, value) => (value === 0 || value === Infinity ? "any" : before + value);
    parts.push(
      heading("Cuts"),
      slider("pt", "pT", CUTS.pt, state.cuts.pt, one => any("≥ ", one) + (one ? " GeV" : ""), cut),
      slider("eta", "|η|", CUTS.eta, state.cuts.eta, one => any("≤ ", one), cut),
      slider("hits", "hits", CUTS.hits, state.cuts.hits, one => any("≥ ", one), cut),
    );
    if (event.vertices.position.length) {
      const select = make("select", { ariaLabel: "Vertex", dataset: { key: "vertex" } });
      const option = (value, text) => make("option", { value, textContent: text });
      select.append(option("all", "all vertices"), option(-1, "in no vertex"));
      event.vertices.n_tracks.forEach((n, i) => {
        const z = number(event.vertices.position[3 * i + 2]);
        select.append(option(i, `vertex ${i + 1}: z ${z} mm, ${n} tracks`));
      });
      select.value = state.cuts.vertex;
      select.addEventListener("change", () => cut("vertex", select.value));
      parts.push(select);
    }
    parts.push(heading("Colour by"), choices("colour", COLOURS, state.colour, colour => {
      state.colour = colour;
      this.update();
    }));
    parts.push(make("p", { className: "ramp small" }), heading("Numbers"),
      numbers(Object.entries(event.facts).map(([name, n]) => [name.replaceAll("_", " "), n])));
    at("panel").replaceChildren(...parts);
  }

  buildBar() {
    const { events } = this.scene;
    const show = () => `event ${this.event.event}`;
    const text = make("output", {}, show());
    const parts = [text];
    if (events.length > 1) {
      const input = make("input", {
        type: "range", min: 0, max: events.length - 1, value: this.state.event, ariaLabel: "Event",
        dataset: { key: "event" },
      });
      input.addEventListener("input", () => this.setEvent(Number(input.value)));
      parts.push(input);
    } else parts.push(make("span", { style: "flex:1" }));
    const all = make("button", { textContent: "look at all", title: "0", className: "wide" });
    all.addEventListener("click", () => this.home());
    const help = make("button", { textContent: "?", title: "keys", ariaLabel: "Keys" });
    help.addEventListener("click", () => at("help").showModal());
    at("bar").replaceChildren(...parts, all, help);
    const rows = KEYS.map(([keys, what]) => make("tr", {},
      make("td", {}, ...keys.split(" ").flatMap(key => [make("kbd", {}, key), " "])),
      make("td", { textContent: what })));
    const close = make("button", { textContent: "close" });
    close.addEventListener("click", () => at("help").close());
    at("help").replaceChildren(make("table", {}, make("tbody", {}, ...rows)), close);
    this.tellEvent = () => {
      text.textContent = show();
      const input = at("bar").querySelector("input");
      if (input) input.value = this.state.event;
    };
  }

  setView(view) {
    this.state.view = view;
    this.picture.setView(view);
    this.update();
  }

  home() {
    this.picture.home(this.extent);
    this.ask();
  }

  choose(kind, row) {
    this.state.chosen = kind && row >= 0 ? { kind, row } : null;
    this.update();
  }

  // Make all things of the picture anew from the state.
  update() {
    const { event, kinds, picture, state, theme } = this;
    const { shown, cuts, view } = state;
    this.rows = Object.fromEntries(
      Object.entries(kinds).map(([name, kind]) => [name, shownRows(kind, shown, cuts)]));
    this.putDetector();
    if (shown.used || shown.hits) this.putHits();
    else ["used", "hits"].forEach(name => picture.drop(name));
    picture.putLines("tracks", kinds.tracks, this.rows.tracks, state.colour, theme, 4);
    if (kinds.particles)
      picture.putLines("particles", kinds.particles, this.rows.particles, "match", theme, 3);
    else picture.drop("particles");
    this.stages.forEach((stage, i) => this.putEdges(stage, i));
    const place = (key, points, name, look) => {
      if (shown[key] && points?.length)
        picture.putPoints(key, projected(points, view), theme[name], 6, look);
      else picture.drop(key);
    };
    place("vertices", event.vertices.position, "vertex", { size: 7, texture: "disc" });
    place("collisions", event.collisions?.position, "collision", { size: 11, texture: "ring" });
    const chosen = state.chosen;
    const kind = chosen && kinds[chosen.kind];
    picture.putChosen(kind, chosen?.row, event.hits.position, theme.select);
    showChosen(at("chosen"), kind, chosen?.row, event, this.scene.detector.layers, {
      close: () => this.choose(null),
      particle: row => this.choose("particles", row),
      vertex: row => {
        cuts.vertex = String(row);
        at("panel").querySelector("[data-key=vertex]").value = cuts.vertex;
        this.update();
      },
    });
    this.tell();
    this.ask();
  }

  putDetector() {
    const { detector } = this.scene;
    const { view, shown } = this.state;
    if (!shown.detector) return this.picture.drop("detector");
    const flat = view === "xy" ? detector.across : detector.along;
    let points = detector.solid;
    if (view !== "3d") {
      points = new Float32Array((flat.length / 2) * 3);
      for (let i = 0; i < flat.length / 2; i++) points.set(flat.subarray(2 * i, 2 * i + 2), 3 * i);
    }
    const opacity = view === "3d" ? 0.55 : 1;
    this.picture.putPieces("detector", points, this.theme.detector, 0, opacity);
  }

  putHits() {
    const { event, kinds, picture, state, theme } = this;
    const { position } = event.hits;
    const used = new Uint8Array(position.length / 3);
    for (const name of ["tracks", "particles"])
      for (const row of this.rows[name] ?? [])
        for (const hit of hitsOf(kinds[name], row)) used[hit] = 1;
    const pick = wanted => {
      const points = [];
      for (let i = 0; i < used.length; i++)
        if (used[i] === wanted) points.push(position[3 * i], position[3 * i + 1], position[3 * i + 2]);
      return projected(new Float32Array(points), state.view);
    };
    if (state.shown.hits) picture.putPoints("hits", pick(0), theme.hit, 1, { size: 1 });
    else picture.drop("hits");
    if (state.shown.used) picture.putPoints("used", pick(1), theme.used, 5, { size: 2.5 });
    else picture.drop("used");
  }

  putEdges(stage, i) {
    const name = `edges ${stage}`;
    if (!this.state.shown[name]) return this.picture.drop(name);
    const ends = this.event.edges[stage];
    const place = projected(this.event.hits.position, this.state.view);
    const points = new Float32Array(3 * ends.length);
    for (let k = 0; k < ends.length; k++)
      points.set(place.subarray(3 * ends[k], 3 * ends[k] + 3), 3 * k);
    const order = 2 + i / this.stages.length; // a later stage leaves fewer: on top
    this.picture.putPieces(name, points, this.theme[`edge${i}`], order, 0.55);
  }

  // Write numbers: of what is shown, of each state.
  tell() {
    const { event, kinds, state } = this;
    const n = this.rows.tracks.length;
    const words = [`${n} of ${kinds.tracks.n} tracks`, `${event.hits.layer.length} hits`];
    if (event.vertices.position.length) words.push(`${event.vertices.n_tracks.length} vertices`);
    at("tells").replaceChildren(make("strong", {}, `Event ${event.event}`), `: ${words.join(", ")}`);
    for (const kind of Object.values(kinds)) {
      const counts = {};
      for (const match of kind.rows.match) {
        const name = kind.states[match];
        counts[name] = (counts[name] ?? 0) + 1;
      }
      for (const name of kind.states) {
        const place = at("panel").querySelector(`[data-count="${name}"]`);
        if (place) place.textContent = counts[name] ?? 0;
      }
    }
    for (const key of ["view", "colour"])
      for (const button of at("panel").querySelectorAll(`[data-${key}]`))
        button.ariaPressed = String(button.dataset[key] === state[key]);
    for (const box of at("panel").querySelectorAll("[type=checkbox]"))
      box.checked = Boolean(state.shown[box.dataset.key]);
    const ramp = at("panel").querySelector(".ramp");
    ramp.hidden = state.colour !== "pt";
    ramp.style.setProperty("--colours", this.theme.ramp.map(one => `rgb(${one})`).join(","));
    ramp.textContent = PT_RANGE.map(one => `${one} GeV`).join(" to ");
    this.tellEvent();
  }

  tellScale() {
    const box = at("scale");
    box.hidden = this.state.view === "3d";
    if (box.hidden) return;
    const most = 120 * this.picture.scale;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map(n => n * power).find(one => one <= most);
    box.style.width = `${length / this.picture.scale}px`;
    box.textContent = length >= 10 ? `${length / 10} cm` : `${length} mm`;
  }

  // Draw once, soon.
  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.tellScale();
      this.picture.draw(this.theme.back);
    });
  }

  click(x, y) {
    let best = { kind: null, row: -1, distance: Infinity };
    for (const [name, rows] of Object.entries(this.rows)) {
      const found = this.picture.nearest(this.kinds[name], rows, x, y);
      if (found.row >= 0 && found.distance < best.distance) best = { kind: name, ...found };
    }
    this.choose(best.kind, best.row);
  }

  step(by) {
    const name = this.state.chosen?.kind ?? "tracks";
    const rows = this.rows[name];
    if (!rows.length) return;
    const now = rows.indexOf(this.state.chosen?.row);
    const next = now < 0 ? (by > 0 ? 0 : rows.length - 1) : (now + by + rows.length) % rows.length;
    this.choose(name, rows[next]);
  }

  flip(...keys) {
    const on = !keys.some(key => this.state.shown[key]);
    for (const key of keys) this.state.shown[key] = on;
    this.update();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inField = event.target.matches?.("input[type=range], select");
    const { state, scene } = this;
    const actions = {
      n: () => this.step(1), p: () => this.step(-1), h: () => this.flip("hits", "used"),
      d: () => this.flip("detector"), v: () => this.flip("vertices"), m: () => this.flip("missed"),
      f: () => {
        const only = state.shown.found || state.shown.duplicate;
        Object.assign(state.shown, { found: !only, duplicate: !only, fake: true });
        this.update();
      },
      c: () => {
        const now = COLOURS.findIndex(([name]) => name === state.colour);
        state.colour = COLOURS[(now + 1) % COLOURS.length][0];
        this.update();
      },
      0: () => this.home(), Escape: () => this.choose(null), "?": () => at("help").showModal(),
    };
    VIEWS.forEach(([view], i) => (actions[i + 1] = () => this.setView(view)));
    if (!inField) {
      actions.ArrowLeft = () => state.event > 0 && this.setEvent(state.event - 1);
      actions.ArrowRight = () =>
        state.event < scene.events.length - 1 && this.setEvent(state.event + 1);
    }
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  listen() {
    const canvas = at("picture");
    let down = null;
    canvas.addEventListener("pointerdown", event => (down = [event.clientX, event.clientY]));
    canvas.addEventListener("pointerup", event => {
      const moved = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]);
      if (down && moved < 4) this.click(event.offsetX, event.offsetY);
      down = null;
    });
    document.addEventListener("keydown", event => this.key(event));
    at("menu").addEventListener("click", () => {
      at("menu").ariaExpanded = String(at("panel").classList.toggle("open"));
    });
    new ResizeObserver(() => {
      this.picture.resize();
      this.ask();
    }).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.theme = readTheme();
      this.update();
    });
  }
}

loadScene().then(scene => {
  window.display = new Display(scene);
  document.documentElement.dataset.ready = "true";
}).catch(error => {
  at("tells").textContent = `This page cannot show its events: ${error.message}`;
  throw error;
});
