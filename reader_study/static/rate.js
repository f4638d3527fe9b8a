// The rating page: scales, keyboard, turning the pages.

import "./page.js";
import { Saver } from "./saver.js";
import { Viewer } from "./viewer.js";

const viewer = new Viewer(document.getElementById("viewer"));
const form = document.getElementById("scales");
const texts = JSON.parse(form.dataset.texts);
const scales = [...form.querySelectorAll("fieldset")];
const status = document.getElementById("status");
const keys = document.getElementById("keys");
const shortcuts = document.getElementById("shortcuts");
const byCriterion = new Map(scales.map((scale) => [scale.dataset.criterion, scale]));
const revisions = new Map(scales.map((scale) => [scale.dataset.criterion, +scale.dataset.revision]));
const saver = new Saver(form.dataset.item, revisions, show);

const radios = (scale) => [...scale.querySelectorAll("input")];
const chosen = (scale) => radios(scale).find((radio) => radio.checked);
const isOpen = (scale) => !chosen(scale);

function show(state, criterion, rating) {
  status.dataset.state = state;
  status.textContent = texts[state];
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
  saver.save(scale.dataset.criterion, +chosen(scale).value);
}

function choose(scale, index) {
  const all = radios(scale);
  const radio = all[Math.min(Math.max(index, 0), all.length - 1)];
  if (radio.checked) return;
  radio.checked = true;
  rated(scale);
}

// The scale that the keyboard rates: that with the focus, else the first that is open.
function current() {
  return document.activeElement?.closest("fieldset") ?? scales.find(isOpen) ?? scales[0];
}

// By digit: 1 is the lowest value. The next scale follows, and after the last one the way to the next item.
function rateByDigit(digit) {
  const scale = current();
  choose(scale, digit - 1);
  (scales[scales.indexOf(scale) + 1] ?? document.getElementById("next")).focus();
}

// One value lower or higher; from an open scale to its middle.
function step(scale, direction) {
  const all = radios(scale);
  const from = all.indexOf(chosen(scale));
  const to = from < 0 ? (all.length - 1) / 2 : from + direction;
  choose(scale, to);
  chosen(scale).focus();
}

// A page is left when all is saved. Who leaves a scale open is shown it first; the second time he may go on, unless
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
  "+": () => viewer.zoom(1),
  "-": () => viewer.zoom(-1),
  0: () => viewer.reset(),
  "?": () => keys.showModal(),
  ArrowLeft: () => step(current(), -1),
  ArrowRight: () => step(current(), 1),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || keys.open) return;
  const radio = event.target.closest("fieldset");
  if (radio && event.key.startsWith("Arrow")) {
    // The browser's own arrows would go from one end of the scale to the other.
    event.preventDefault();
    step(radio, ["ArrowRight", "ArrowUp"].includes(event.key) ? 1 : -1);
    return;
  }
  const native = event.target.closest("button, a, select, summary, input:not([type=radio])");
  const forNative = ["Enter", " ", "ArrowLeft", "ArrowRight", "Backspace"].includes(event.key) || event.target.matches("select");
  if (!shortcuts.checked || (native && forNative) || (event.key === " " && event.target.matches("[type=radio]"))) return;
  const action = /^[1-9]$/.test(event.key) ? () => rateByDigit(+event.key) : ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
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
document.getElementById("position").addEventListener("change", (event) => turn(`/rate/${event.target.value}`, false));
document.getElementById("help").addEventListener("click", () => keys.showModal());

shortcuts.checked = sessionStorage.getItem("shortcuts") !== "off";
shortcuts.addEventListener("change", () => sessionStorage.setItem("shortcuts", shortcuts.checked ? "on" : "off"));

document.getElementById("controls").open = matchMedia("(min-width: 44rem)").matches;
addEventListener("beforeunload", (event) => {
  if (saver.busy) event.preventDefault();
});
addEventListener("offline", () => show("offline"));
addEventListener("online", () => {
  if (!saver.busy) show("saved");
});
