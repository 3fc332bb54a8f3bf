// The drawing: one or two draw calls for each kind of thing, in space or in one of two planes.

import {
  BufferAttribute, BufferGeometry, CanvasTexture, Color, ColorManagement, LineBasicMaterial,
  LinearSRGBColorSpace, LineSegments, NoBlending, OrthographicCamera, PerspectiveCamera, Points,
  PointsMaterial, Scene, Vector3, WebGLRenderer, MOUSE, TOUCH,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { LineMaterial } from "three/addons/lines/LineMaterial.js";
import { LineSegments2 } from "three/addons/lines/LineSegments2.js";
import { LineSegmentsGeometry } from "three/addons/lines/LineSegmentsGeometry.js";

import { colourOf, hitsOf, pieceOf } from "./kinds.js";

const MANY_POINTS = 20000;
const NEAR_BEAM = 15; // mm
const FIELD_OF_VIEW = 32; // degrees
const NEAR_CLICK = 9; // pixels
const OFF_LINE = 0.5; // pixels: points nearer to a line than this are left out of it
const MOST_LEFT_OUT = 32;
const SLOW = 60; // ms of a frame: while a slower picture moves, it has half as many pixels each way

ColorManagement.enabled = false; // colours go to the screen as they are, without work per pixel

// Things are drawn in the order of their `renderOrder` alone: no depth is kept or compared. In three,
// "transparent" things have that order among all others; a plain one is not blended.
const FLAT = { transparent: true, depthTest: false, depthWrite: false };
const PLAIN = { ...FLAT, blending: NoBlending };

// Positions in the plane of a view; r has the sign of y.
export function projected(points, view) {
  if (view !== "rz") return points;
  const found = new Float32Array(points.length);
  for (let i = 0; i < points.length; i += 3) {
    const r = Math.hypot(points[i], points[i + 1]);
    found[i] = points[i + 2];
    found[i + 1] = points[i + 1] < 0 ? -r : r;
  }
  return found;
}

// The same for the points of lines: near the beam line a line keeps the side that it leaves to.
function projectedLines({ offsets, points }, view) {
  const found = projected(points, view);
  if (view !== "rz") return found;
  for (let row = 0; row + 1 < offsets.length; row++) {
    let side = 0;
    for (let i = offsets[row + 1] - 1; i >= offsets[row]; i--) {
      const r = Math.abs(found[3 * i + 1]);
      if (side && r < NEAR_BEAM) found[3 * i + 1] = side * r;
      side = found[3 * i + 1] < 0 ? -1 : 1;
    }
  }
  return found;
}

// Points of a line, from first to end - 1, that are left if it may run so far, mm, from the others.
// A line does not jump over a change of the sign of y where sides are to be kept.
export function thinned(points, first, end, tolerance, sided) {
  const left = [first];
  for (let from = first; from + 1 < end; ) {
    let to = from + 1;
    while (to + 1 < end && to - from < MOST_LEFT_OUT && passes(points, from, to + 1, tolerance)
      && !(sided && points[3 * to + 1] < 0 !== points[3 * to + 4] < 0)
      && !(sided && points[3 * from + 1] < 0 !== points[3 * to + 1] < 0)) to++;
    left.push(to);
    from = to;
  }
  return left;
}

// Whether the straight piece between two points passes all points between them so nearly.
function passes(points, from, to, tolerance) {
  const [ax, ay, az] = points.subarray(3 * from, 3 * from + 3);
  const [ux, uy, uz] = [points[3 * to] - ax, points[3 * to + 1] - ay, points[3 * to + 2] - az];
  const length2 = ux * ux + uy * uy + uz * uz || 1;
  for (let i = from + 1; i < to; i++) {
    const [vx, vy, vz] = [points[3 * i] - ax, points[3 * i + 1] - ay, points[3 * i + 2] - az];
    const at = Math.max(0, Math.min(1, (ux * vx + uy * vy + uz * vz) / length2));
    const [dx, dy, dz] = [vx - at * ux, vy - at * uy, vz - at * uz];
    if (dx * dx + dy * dy + dz * dz > tolerance * tolerance) return false;
  }
  return true;
}

function disc(hollow) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext("2d");
  pen.beginPath();
  pen.arc(16, 16, hollow ? 12 : 15, 0, 2 * Math.PI);
  pen.strokeStyle = pen.fillStyle = "#fff";
  pen.lineWidth = 6;
  hollow ? pen.stroke() : pen.fill();
  return new CanvasTexture(canvas);
}

const toColour = rgb => new Color().setRGB(...rgb.map(one => one / 255));

export class Picture {
  constructor(canvas, changed, refine) {
    this.canvas = canvas;
    this.renderer = new WebGLRenderer({
      canvas, antialias: true, depth: false, preserveDrawingBuffer: true,
    });
    this.renderer.outputColorSpace = LinearSRGBColorSpace;
    this.pixelRatio = Math.min(devicePixelRatio, 2);
    this.renderer.setPixelRatio(this.pixelRatio);
    this.scene = new Scene();
    this.things = {};
    this.textures = { disc: disc(false), ring: disc(true) };
    this.view = "3d";
    this.cameras = {
      "3d": new PerspectiveCamera(FIELD_OF_VIEW, 1, 1, 1e5),
      xy: new OrthographicCamera(-1, 1, 1, -1, -1e5, 1e5),
      rz: new OrthographicCamera(-1, 1, 1, -1, -1e5, 1e5),
    };
    this.controls = {};
    for (const [view, camera] of Object.entries(this.cameras)) {
      const controls = new OrbitControls(camera, canvas);
      controls.enabled = view === this.view;
      controls.addEventListener("change", changed);
      controls.addEventListener("start", () => this.setMoving(true));
      controls.addEventListener("end", () => {
        this.setMoving(false);
        const ratio = this.offLine / this.thinnedBy;
        ratio > 2 || ratio < 0.5 ? refine() : changed();
      });
      if (view !== "3d") {
        controls.enableRotate = false;
        controls.screenSpacePanning = true;
        controls.mouseButtons = { LEFT: MOUSE.PAN, MIDDLE: MOUSE.DOLLY, RIGHT: MOUSE.PAN };
        controls.touches = { ONE: TOUCH.PAN, TWO: TOUCH.DOLLY_PAN };
      }
      this.controls[view] = controls;
    }
  }

  get camera() {
    return this.cameras[this.view];
  }

  // While the picture moves, large clouds of points are left out, and a slow one is coarser.
  setMoving(moving) {
    this.moving = moving;
    this.slow ??= this.timeFrame(this.back) > SLOW;
    this.renderer.setPixelRatio(moving && this.slow ? this.pixelRatio / 2 : this.pixelRatio);
    this.resize();
    for (const thing of Object.values(this.things)) this.simplify(thing);
  }

  simplify(thing) {
    if (!thing.isPoints) return;
    const n = thing.geometry.attributes.position.count;
    thing.visible = !(this.moving && n > MANY_POINTS);
    thing.material.size = thing.userData.size * this.renderer.getPixelRatio();
  }

  setView(view) {
    this.view = view;
    for (const [name, controls] of Object.entries(this.controls)) controls.enabled = name === view;
    this.resize();
  }

  // Look at all of the detector, whose half sizes are [across, along].
  home([across, along]) {
    this.extent = [across, along];
    const aspect = this.aspect();
    if (this.view === "3d") {
      const half = Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
      const away = Math.max(1.5 * across, (0.95 * along) / aspect) / half + 0.62 * along;
      this.camera.position.set(0.82 * away, 0.36 * away, 0.45 * away);
      this.camera.up.set(0, 1, 0);
    } else {
      this.camera.position.set(0, 0, 1e3);
      this.camera.zoom = 1;
    }
    this.controls[this.view].target.set(0, 0, 0);
    this.controls[this.view].update();
    this.resize();
  }

  aspect() {
    return Math.max(this.canvas.clientWidth, 1) / Math.max(this.canvas.clientHeight, 1);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.renderer.setSize(width, height, false);
    const aspect = this.aspect();
    const camera = this.camera;
    if (this.view === "3d") camera.aspect = aspect;
    else if (this.extent) {
      const [across, along] = this.extent;
      const [x, y] = this.view === "xy" ? [across, across] : [along, across];
      const half = 1.06 * Math.max(y, x / aspect);
      camera.top = half;
      camera.bottom = -half;
      camera.right = half * aspect;
      camera.left = -half * aspect;
    }
    camera.updateProjectionMatrix();
    for (const thing of Object.values(this.things))
      thing.material.resolution?.set(width, height);
  }

  // mm of a pixel; in space, at the place that the camera looks at.
  get scale() {
    const camera = this.camera;
    if (this.view !== "3d")
      return (camera.right - camera.left) / camera.zoom / this.canvas.clientWidth;
    const away = camera.position.distanceTo(this.controls["3d"].target);
    const half = Math.tan((FIELD_OF_VIEW * Math.PI) / 360);
    return (2 * away * half) / Math.max(this.canvas.clientHeight, 1);
  }

  // mm that lines may run off their points.
  get offLine() {
    return OFF_LINE * this.scale;
  }

  put(name, thing, order) {
    this.drop(name);
    thing.frustumCulled = false;
    thing.renderOrder = order;
    this.simplify(thing);
    this.things[name] = thing;
    this.scene.add(thing);
  }

  drop(name) {
    const old = this.things[name];
    if (!old) return;
    this.scene.remove(old);
    old.geometry.dispose();
    old.material.dispose();
    delete this.things[name];
  }

  putPieces(name, points, rgb, order, opacity = 1) {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(points, 3));
    const look = opacity < 1 ? { ...FLAT, opacity } : PLAIN;
    const material = new LineBasicMaterial({ ...look, color: toColour(rgb) });
    this.put(name, new LineSegments(geometry, material), order);
  }

  putPoints(name, points, rgb, order, { size = 3, texture = null } = {}) {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(points, 3));
    const look = texture ? { ...FLAT, map: this.textures[texture], alphaTest: 0.3 } : PLAIN;
    const material = new PointsMaterial({ ...look, color: toColour(rgb), sizeAttenuation: false });
    const cloud = new Points(geometry, material);
    cloud.userData.size = size;
    this.put(name, cloud, order);
  }

  // Lines of some rows of a kind, in one draw call.
  putLines(name, kind, rows, by, theme, order) {
    const points = projectedLines(kind.paths, this.view);
    const colours = new Uint8Array(points.length);
    const index = [];
    const sided = this.view === "rz";
    this.thinnedBy = this.offLine;
    for (const row of rows) {
      const [first, end] = pieceOf(kind, row);
      const colour = colourOf(kind, row, by, theme);
      for (let i = first; i < end; i++) colours.set(colour, 3 * i);
      const left = thinned(points, first, end, this.thinnedBy, sided);
      for (let i = 0; i + 1 < left.length; i++)
        if (!sided || points[3 * left[i] + 1] < 0 === points[3 * left[i + 1] + 1] < 0)
          index.push(left[i], left[i + 1]);
    }
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(points, 3));
    geometry.setAttribute("color", new BufferAttribute(colours, 3, true));
    geometry.setIndex(new BufferAttribute(new Uint32Array(index), 1));
    const material = new LineBasicMaterial({ ...PLAIN, vertexColors: true });
    this.put(name, new LineSegments(geometry, material), order);
  }

  // One row of a kind as a thick line, with its hits.
  putChosen(kind, row, hits, rgb) {
    this.drop("chosen line");
    this.drop("chosen hits");
    if (!kind) return;
    const points = projectedLines(kind.paths, this.view);
    const [first, end] = pieceOf(kind, row);
    const pieces = [];
    for (let i = first; i + 1 < end; i++)
      if (this.view !== "rz" || points[3 * i + 1] < 0 === points[3 * i + 4] < 0)
        pieces.push(...points.subarray(3 * i, 3 * i + 6));
    if (pieces.length) {
      const geometry = new LineSegmentsGeometry().setPositions(pieces);
      const material = new LineMaterial({ ...FLAT, color: toColour(rgb).getHex(), linewidth: 3 });
      this.put("chosen line", new LineSegments2(geometry, material), 8);
    }
    const own = new Float32Array(3 * hitsOf(kind, row).length);
    hitsOf(kind, row).forEach((hit, i) => own.set(hits.subarray(3 * hit, 3 * hit + 3), 3 * i));
    const look = { size: 9, texture: "disc" };
    this.putPoints("chosen hits", projected(own, this.view), rgb, 9, look);
    this.resize();
  }

  // Place on the canvas of each point, in pixels; NaN behind the camera.
  onCanvas(points) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const place = new Vector3();
    const found = new Float32Array((points.length / 3) * 2);
    this.camera.updateMatrixWorld();
    for (let i = 0; i < points.length / 3; i++) {
      place.fromArray(points, 3 * i).project(this.camera);
      const behind = Math.abs(place.z) > 1;
      found[2 * i] = behind ? NaN : ((place.x + 1) / 2) * width;
      found[2 * i + 1] = behind ? NaN : ((1 - place.y) / 2) * height;
    }
    return found;
  }

  // The row of a kind whose line passes nearest to a place, and how near it passes.
  nearest(kind, rows, x, y) {
    const places = this.onCanvas(projectedLines(kind.paths, this.view));
    let best = { row: -1, distance: NEAR_CLICK };
    for (const row of rows) {
      const [first, end] = pieceOf(kind, row);
      for (let i = first; i + 1 < end; i++) {
        const [ax, ay, bx, by] = places.subarray(2 * i, 2 * i + 4);
        const [dx, dy] = [bx - ax, by - ay];
        const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
        const at = Math.max(0, Math.min(1, along));
        const distance = Math.hypot(ax + at * dx - x, ay + at * dy - y);
        if (distance < best.distance) best = { row, distance };
      }
    }
    return best;
  }

  draw(back) {
    this.back = back;
    this.renderer.setClearColor(toColour(back), 1);
    this.renderer.render(this.scene, this.camera);
  }

  // ms of a whole frame; reading a pixel waits until it is drawn.
  timeFrame(back) {
    const start = performance.now();
    this.draw(back);
    const gl = this.renderer.getContext();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    return performance.now() - start;
  }
}
