// The rating page: scales, keyboard, turning the pages.

import "./page.js";
import { Saver } from "./saver.js";
import { root } from "./session.js";
import { Viewer } from "./viewer.js";

const viewer = new Viewer(document.getElementById("viewer"));
const form = document.getElementById("scales");
const texts = JSON.parse(form.dataset.texts);
const scales = [...form.querySelectorAll("fieldset")];
const status = document.getElementById("status");
const keys = document.getElementById("keys");
const shortcuts = document.getElementById("shortcuts");
const trouble = document.getElementById("trouble");
const SLOW = 15000; // milliseconds after which a reader may try to load the pictures again
const byCriterion = new Map(scales.map((scale) => [scale.dataset.criterion, scale]));
const revisions = new Map(scales.map((scale) => [scale.dataset.criterion, +scale.dataset.revision]));
const saver = new Saver(form.dataset.item, revisions, show);

const radios = (scale) => [...scale.querySelectorAll("input")];
const chosen = (scale) => radios(scale).find((radio) => radio.checked);
const isOpen = (scale) => !chosen(scale);

function show(state, criterion, rating) {
  status.dataset.state = state;
  status.textContent = texts[state] ?? "";
  if (state === "conflict") {
    for (const radio of radios(byCriterion.get(criterion))) radio.checked = +radio.value === rating;
    describe(byCriterion.get(criterion));
  }
}

function describe(scale) {
  scale.querySelector(".ends output").value = chosen(scale)?.closest("label").title ?? texts.open;
  if (chosen(scale)) scale.classList.remove("wanted");
}

function rated(scale) {
  describe(scale);
  saver.save(scale.dataset.criterion, +chosen(scale).value, viewer.state());
}

function choose(scale, radio) {
  if (scale.disabled || radio.checked) return;
  radio.checked = true;
  rated(scale);
}

// The scale that the keyboard rates: that with the focus, else the first that is open; none where all are rated.
function current() {
  return document.activeElement?.closest("fieldset") ?? scales.find(isOpen);
}

// A rating as it is written: a sign waits for its digit. The next scale follows, and after the last one the way to the
// next item.
const SIGNS = { "+": 1, "-": -1, "−": -1, "–": -1, Add: 1, Subtract: -1 };
let sign = 0;

function typeSign(typed) {
  sign = typed;
  const words = current()?.querySelector(".ends output");
  if (words) words.value = typed < 0 ? "− …" : "+ …";
}

function forgetSign() {
  if (sign) scales.forEach(describe);
  sign = 0;
}

function typeDigit(digit) {
  const [scale, rating] = [current(), (sign || 1) * digit];
  forgetSign();
  if (!scale || scale.disabled) return;
  const radio = radios(scale).find((one) => +one.value === rating);
  if (!radio) return show("range");
  choose(scale, radio);
  (scales[scales.indexOf(scale) + 1] ?? document.getElementById("next")).focus();
}

// One value lower or higher; from an open scale to its middle.
function step(scale, direction) {
  if (!scale) return;
  const all = radios(scale);
  const from = all.indexOf(chosen(scale));
  const to = from < 0 ? (all.length - 1) / 2 : from + direction;
  choose(scale, all[Math.min(Math.max(to, 0), all.length - 1)]);
  chosen(scale)?.focus();
}

// A page is left when all is saved. Who leaves a scale open is shown it first; the second time they may go on, unless
// nothing is rated: the next item is shown to those who have begun this one.
async function turn(address, forward) {
  const open = scales.filter(isOpen);
  const told = open.every((scale) => scale.classList.contains("wanted"));
  if (forward && open.length && (!told || open.length === scales.length)) {
    for (const scale of open) scale.classList.add("wanted");
    open[0].focus();
    return;
  }
  if (saver.busy) {
    await saver.settled();
    if (status.dataset.state !== "saved") return; // told just now
  }
  if (address) location.assign(address);
}

const next = () => turn(form.dataset.next, true);
const back = () => turn(form.dataset.previous, false);

const ACTIONS = {
  n: next,
  Enter: next,
  b: back,
  Backspace: back,
  o: () => viewer.toggle(),
  " ": () => viewer.toggle(),
  z: () => viewer.zoom(1),
  x: () => viewer.zoom(-1),
  r: () => viewer.reset(),
  "?": () => keys.showModal(),
  ArrowLeft: () => step(current(), -1),
  ArrowRight: () => step(current(), 1),
};

const MODIFIERS = ["Shift", "CapsLock", "NumLock", "AltGraph"]; // some keyboards need them for a digit

addEventListener("pointerdown", forgetSign);
addEventListener("focusin", forgetSign);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || keys.open || MODIFIERS.includes(event.key)) return;
  const digit = /^Numpad([0-9])$/.exec(event.code)?.[1] ?? (/^[0-9]$/.test(event.key) ? event.key : null); // NumLock or not
  if (digit === null) forgetSign();
  const radio = event.target.closest("fieldset");
  if (radio && digit === null && event.key.startsWith("Arrow")) {
    // The browser's own arrows would go from one end of the scale to the other.
    event.preventDefault();
    step(radio, ["ArrowRight", "ArrowUp"].includes(event.key) ? 1 : -1);
    return;
  }
  const native = event.target.closest("button, a, select, summary, input:not([type=radio])");
  const forNative = ["Enter", " ", "ArrowLeft", "ArrowRight", "Backspace"].includes(event.key) || event.target.matches("select");
  if (!shortcuts.checked || (native && forNative) || (event.key === " " && event.target.matches("[type=radio]"))) return;
  const action = digit !== null ? () => typeDigit(+digit)
    : event.key in SIGNS ? () => typeSign(SIGNS[event.key])
    : ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  if (!event.repeat) action();
});

for (const scale of scales) scale.addEventListener("change", () => rated(scale));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  next();
});
document.getElementById("previous")?.addEventListener("click", (event) => {
  event.preventDefault();
  back();
});
document.getElementById("position").addEventListener("change", (event) => turn(`${root}/rate/${event.target.value}`, false));
document.getElementById("help").addEventListener("click", () => keys.showModal());

shortcuts.checked = sessionStorage.getItem("shortcuts") !== "off";
shortcuts.addEventListener("change", () => sessionStorage.setItem("shortcuts", shortcuts.checked ? "on" : "off"));

// Nothing is rated before both pictures are there.
show("loading");
const slow = setTimeout(() => (trouble.hidden = false), SLOW);
document.getElementById("retry").addEventListener("click", () => location.reload());
viewer.ready.then(() => {
  for (const scale of scales) scale.disabled = false;
  if (status.dataset.state === "loading") show("");
  trouble.hidden = true;
}, () => {
  if (status.dataset.state === "loading") show("");
  trouble.hidden = false;
}).finally(() => clearTimeout(slow));

for (const { criterion, rating } of saver.resume()) {
  for (const radio of radios(byCriterion.get(criterion))) radio.checked = +radio.value === rating;
  describe(byCriterion.get(criterion));
}

document.getElementById("controls").open = matchMedia("(min-width: 70rem)").matches;
addEventListener("beforeunload", (event) => {
  if (saver.busy) event.preventDefault();
});
addEventListener("offline", () => show("offline"));
addEventListener("online", () => {
  if (!saver.busy && status.dataset.state === "offline") show("");
});
