"use strict";
// What all pages share: unpacking the data, making elements, colours, numbers, tokens, and the selection in the address.

let DATA = null; // what Python wrote, with its arrays unpacked

// ---------------------------------------------------------------------------------------------------------------- data

const KINDS = { u1: Uint8Array, i1: Int8Array, f4: Float32Array, i4: Int32Array };

// Replaces every packed array in `value` by its numbers; resolves when all are there.
function unpack(value) {
  if (value === null || typeof value !== "object") return [];
  if (typeof value.blob === "string") return [unpackOne(value)];
  return Object.values(value).flatMap(unpack);
}

async function unpackOne(packed) {
  const text = atob(packed.blob), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  packed.blob = null;
  packed.data = new KINDS[packed.kind](await new Response(stream).arrayBuffer());
}

// A probability was stored as 255 times its square root; a signed share as 127 times value / largest, -128 is no number.
const probability = (byte) => (byte / 255) ** 2;
const shareOf = (packed, index) => (packed.data[index] === -128 ? NaN : (packed.data[index] / 127) * packed.largest);

// ------------------------------------------------------------------------------------------------------------ elements

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const say = (...words) => el("p", {}, ...words);
const heading = (text) => el("h3", {}, text);
const code = (text) => el("code", {}, text);

function choose(label, options, chosen, onChange) {
  const select = el("select", { id: `choose-${label.replaceAll(" ", "-")}`, change: () => onChange(select.value) },
    options.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)));
  return el("label", {}, label + " ", select);
}

// -------------------------------------------------------------------------------------------------------------- tokens

// A token is shown as text and never as markup; what has no picture of its own gets one.
function visible(token) {
  return String(token)
    .replace(/[\u0000-\u001f]/g, (sign) => String.fromCodePoint(0x2400 + sign.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
const isolated = (text) => `\u2068${text}\u2069`; // a right-to-left word does not turn its neighbours around
const quoted = (text) => `“${isolated(text)}”`; // a token in a sentence
const token = (text) => el("bdi", { class: "token" }, visible(text));

// ------------------------------------------------------------------------------------------------------------- numbers

function num(x, digits = 4) {
  if (typeof x === "string") return x; // "nan", "inf"
  if (x == null || Number.isNaN(x)) return "not a number";
  if (!Number.isFinite(x)) return x > 0 ? "infinite" : "-infinite";
  if (x === 0) return "0";
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(digits - 1).replace(/\.?0*e\+?/, "e") : String(Number(x.toPrecision(digits)));
}
const toNumber = (x) => (typeof x === "string" ? { nan: NaN, inf: Infinity, "-inf": -Infinity }[x] : x);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// ------------------------------------------------------------------------------------------------------------- colours

const dark = matchMedia("(prefers-color-scheme: dark)");
const redraws = new Set(); // what draws on canvas or SVG draws again in other colours
dark.addEventListener("change", () => redraws.forEach((redraw) => redraw()));

const palettes = {};
function palette(scale) {
  const theme = dark.matches ? "dark" : "light";
  return (palettes[theme + scale] ??= DATA.colours[theme][scale].match(/../g).map((two) => parseInt(two, 16)));
}

// The place of a value on its scale, 0 to 255. Signed scales have 0 in their middle.
function step(scale, value, largest) {
  const share = value / (largest || 1);
  return Math.round(255 * clamp(scale === "diverging" ? (share + 1) / 2 : share, 0, 1));
}

function colour(scale, value, largest) {
  const at = 3 * step(scale, value, largest);
  return `rgb(${palette(scale).slice(at, at + 3).join(" ")})`;
}

// Black or white, whichever is readable on a colour.
function ink(scale, value, largest) {
  const at = 3 * step(scale, value, largest);
  const [r, g, b] = palette(scale).slice(at, at + 3);
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function legend(scale, largest, what, clipped = false, ends = null) {
  const canvas = el("canvas", { width: 256, height: 1, class: "legend-bar", "aria-hidden": "true" });
  const draw = () => {
    const context = canvas.getContext("2d");
    const image = context.createImageData(256, 1);
    palette(scale).forEach((part, i) => { image.data[4 * Math.floor(i / 3) + (i % 3)] = part; });
    range(256).forEach((i) => { image.data[4 * i + 3] = 255; });
    context.putImageData(image, 0, 0);
  };
  draw();
  keepDrawn(canvas, draw);
  const [low, high] = ends ?? [scale === "diverging" ? num(-largest, 3) : "0", `${num(largest, 3)}${clipped ? " and more" : ""}`];
  return el("div", { class: "legend" }, el("span", {}, low), canvas,
    el("span", {}, high), el("span", { class: "quiet" }, what));
}

// Draw again when the colours change, for as long as the element is on the page.
function keepDrawn(element, draw) {
  const redraw = () => (element.isConnected ? draw() : redraws.delete(redraw));
  redraws.add(redraw);
}

// ----------------------------------------------------------------------------------------------------------- selection

// What is chosen stands in the address, so that a link can show it: #tab=heads&layer=3&head=7
const selection = {};
const listeners = new Set();

function readAddress() {
  for (const key of Object.keys(selection)) delete selection[key];
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) selection[key] = value;
}

function select(changes, { quietly = false } = {}) {
  Object.assign(selection, changes);
  for (const key of Object.keys(selection)) if (selection[key] == null) delete selection[key];
  try {
    history.replaceState(null, "", "#" + new URLSearchParams(selection));
  } catch { /* a frame without an address of its own */ }
  if (!quietly) listeners.forEach((listener) => listener());
}

function chosen(key, count, otherwise = 0) {
  const value = Number(selection[key] ?? otherwise);
  return Number.isInteger(value) && value >= 0 && value < count ? value : otherwise;
}

// A part of the page that is drawn again when one of these choices changes. The focus stays where it was.
function redrawnOn(keys, draw) {
  const panel = el("div", {});
  let last = null;
  const show = () => {
    if (!panel.isConnected && last !== null) return listeners.delete(show);
    const now = keys.map((key) => selection[key]).join();
    if (now === last) return;
    last = now;
    const focused = panel.contains(document.activeElement) ? document.activeElement.id : "";
    panel.replaceChildren(...draw().flat(Infinity).filter((part) => part != null));
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };
  listeners.add(show);
  show();
  return panel;
}

// ---------------------------------------------------------------------------------------------------------------- tabs

// Views as tabs; each is drawn when it is first looked at. Every view says what one sees and what one must not conclude.
function tabs(views) {
  const panel = el("section", { role: "tabpanel", id: "panel", tabindex: "0" });
  const buttons = views.map((view) => el("button", {
    role: "tab", id: `tab-${view.id}`, "aria-controls": "panel", click: () => select({ tab: view.id }),
  }, view.title));
  const bar = el("div", { role: "tablist", keydown: (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + move + buttons.length) % buttons.length];
    next.focus();
    next.click();
    event.preventDefault();
  } }, buttons);
  let open = null;
  const show = () => {
    const view = views.find(({ id }) => id === selection.tab) ?? views[0];
    if (view === open) return;
    open = view;
    buttons.forEach((button, i) => {
      button.setAttribute("aria-selected", views[i] === view);
      button.tabIndex = views[i] === view ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", `tab-${view.id}`);
    panel.replaceChildren(el("p", { class: "what" }, view.sees), el("p", { class: "careful" }, "Careful: ", view.careful), view.draw());
  };
  listeners.add(show);
  show();
  return [bar, panel];
}
