// Original and overlay side by side: window and level, strength of the overlay, zoom and pan of both together.

import { recall, remember, root } from "./session.js";

const MAX_ZOOM = 8;
const STEP = 1.25;
const RULERS = [50, 20, 10, 5, 2, 1]; // mm; the longest that takes at most 40 % of a picture's width

export class Viewer {
  #root;
  #panes;
  #pictures = []; // {context, grey}: what is drawn, and its 8-bit grey values
  #view = { scale: 1, x: 0, y: 0 }; // x and y: of the left upper corner, as fractions of a pane, never positive
  #fingers = new Map();

  constructor(root) {
    this.#root = root;
    this.#panes = [...root.querySelectorAll(".pane")];
    for (const name of ["opacity", "window", "level"]) this.#on(name, "input", () => this.#change());
    for (const preset of root.querySelectorAll(".preset")) {
      preset.addEventListener("click", () => this.#set(+preset.dataset.window, +preset.dataset.level));
    }
    this.#on("hide", "click", () => this.toggle());
    this.#on("zoom_in", "click", () => this.zoom(1));
    this.#on("zoom_out", "click", () => this.zoom(-1));
    this.#on("reset", "click", () => this.reset());
    this.#on("enlarge", "click", (event) => press(event.currentTarget, root.classList.toggle("large")));
    for (const pane of this.#panes) this.#follow(pane);
    const { window, level } = recall("view") ?? {}; // of the last item; the rest is the same for every item
    if (window) [this.#part("window").value, this.#part("level").value] = [window, level];
    this.#apply();
    this.#move(this.#view);
    this.ready = this.#load();
  }

  // What is before the reader.
  state() {
    return {
      original: this.#root.dataset.original,
      overlay: this.#root.dataset.overlay,
      window: +this.#part("window").value,
      level: +this.#part("level").value,
      opacity: this.#root.classList.contains("bare") ? 0 : +this.#part("opacity").value,
      zoom: Math.round(100 * this.#view.scale),
    };
  }

  zoom(steps) {
    this.#zoomAt(STEP ** steps, 0.5, 0.5);
  }

  // Hide or show the overlay.
  toggle() {
    const button = this.#part("hide");
    const hidden = this.#root.classList.toggle("bare");
    press(button, hidden);
    button.textContent = hidden ? button.dataset.show : button.dataset.hide;
  }

  // As it was when the first item was opened.
  reset() {
    for (const name of ["opacity", "window", "level"]) this.#part(name).value = this.#part(name).defaultValue;
    if (this.#root.classList.contains("bare")) this.toggle();
    this.#move({ scale: 1, x: 0, y: 0 });
    this.#change();
  }

  #part(name) {
    return document.getElementById(name);
  }

  #on(name, event, action) {
    this.#part(name).addEventListener(event, action);
  }

  #set(window, level) {
    this.#part("window").value = window;
    this.#part("level").value = level;
    this.#change();
  }

  // The reader's own choice of window and level stays for the items to come.
  #change() {
    remember("view", { window: this.#part("window").value, level: this.#part("level").value });
    this.#apply();
  }

  // Original and overlay; an error where one of them cannot be had.
  async #load() {
    const image = new Image();
    image.src = `${root}/image/${this.#root.dataset.original}`;
    await Promise.all([image.decode(), this.#part("overlay").decode()]);
    for (const canvas of this.#root.querySelectorAll("canvas")) {
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      this.#pictures.push({ context, grey: data.filter((_, index) => index % 4 === 0) });
    }
    this.#draw();
  }

  #apply() {
    for (const output of this.#root.querySelectorAll("output[data-unit]")) {
      output.value = `${this.#part(output.htmlFor.value).value.replace("-", "−")} ${output.dataset.unit}`;
    }
    this.#part("overlay").style.opacity = this.#part("opacity").value / 100;
    this.#draw();
  }

  // Grey value g stands for low + g / 255 (high - low) HU; the window's lower end becomes black, its upper end white.
  #draw() {
    const { low, high } = this.#root.dataset;
    const [window, level] = [+this.#part("window").value, +this.#part("level").value];
    const shades = Uint8ClampedArray.from({ length: 256 }, (_, grey) => {
      const hu = +low + (grey / 255) * (high - low);
      return (255 * (hu - level + window / 2)) / window;
    });
    const pixels = Uint32Array.from(shades, (shade) => 0xff000000 | (shade * 0x010101)); // opaque grey
    for (const { context, grey } of this.#pictures) {
      const picture = context.createImageData(context.canvas.width, context.canvas.height);
      new Uint32Array(picture.data.buffer).set(Uint32Array.from(grey, (value) => pixels[value]));
      context.putImageData(picture, 0, 0);
    }
  }

  // The point (x, y) of a pane, as fractions, stays where it is.
  #zoomAt(factor, x, y) {
    const scale = Math.min(Math.max(this.#view.scale * factor, 1), MAX_ZOOM);
    const ratio = scale / this.#view.scale;
    this.#move({ scale, x: x - ratio * (x - this.#view.x), y: y - ratio * (y - this.#view.y) });
  }

  #move({ scale, x, y }) {
    const inside = (value) => Math.min(0, Math.max(1 - scale, value));
    this.#view = { scale, x: inside(x), y: inside(y) };
    const percent = (value) => `${100 * value}%`;
    const share = (mm) => (mm / this.#root.dataset.fov) * scale;
    const mm = RULERS.find((one) => share(one) <= 0.4) ?? RULERS.at(-1);
    for (const pane of this.#panes) {
      pane.querySelector(".stage").style.transform = `translate(${percent(this.#view.x)}, ${percent(this.#view.y)}) scale(${scale})`;
      const ruler = pane.querySelector(".ruler");
      ruler.style.width = percent(share(mm));
      ruler.textContent = this.#root.dataset.ruler.replace("{mm}", mm);
    }
    this.#root.classList.toggle("zoomed", scale > 1);
    this.#part("zoom").value = `${Math.round(100 * scale)} %`;
  }

  #follow(pane) {
    const at = (event) => {
      const box = pane.getBoundingClientRect();
      return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    };
    pane.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = at(event);
      this.#zoomAt(STEP ** (-event.deltaY / 100), x, y);
    }, { passive: false });
    pane.addEventListener("pointerdown", (event) => {
      pane.setPointerCapture(event.pointerId);
      this.#fingers.set(event.pointerId, at(event));
    });
    pane.addEventListener("pointermove", (event) => {
      if (this.#fingers.has(event.pointerId)) this.#drag(event.pointerId, at(event));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      pane.addEventListener(end, (event) => this.#fingers.delete(event.pointerId));
    }
  }

  // One finger moves the picture; two move and zoom it, so that the places under them stay under them.
  #drag(id, now) {
    const before = [...this.#fingers.values()];
    this.#fingers.set(id, now);
    const after = [...this.#fingers.values()];
    const [from, to] = [middle(before), middle(after)];
    this.#move({ ...this.#view, x: this.#view.x + to.x - from.x, y: this.#view.y + to.y - from.y });
    if (after.length === 2) this.#zoomAt(spread(after) / Math.max(spread(before), 0.01), to.x, to.y);
  }
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", pressed);
}

function middle(points) {
  const mean = (axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
  return { x: mean("x"), y: mean("y") };
}

function spread([one, other]) {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
