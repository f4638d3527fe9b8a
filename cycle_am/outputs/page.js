"use strict";
const form = document.querySelector("form.tools");
if (form) {
  const list = document.querySelector("main");
  const cards = [...list.querySelectorAll("article")];
  const order = ["refused", "doubtful", "usable", "not assessed"];
  const number = (text, absent) => (text === "" || text === "None" ? absent : Number(text));
  const keys = {
    index: (card) => Number(card.dataset.index),
    verdict: (card) => order.indexOf(card.dataset.verdict),
    p: (card) => -number(card.dataset.p, -1),
    distance: (card) => number(card.dataset.distance, 9),
  };
  const update = () => {
    const shown = new Set([...form.querySelectorAll("input:checked")].map((box) => box.value));
    const by = form.elements.sort.value;
    const names = new Intl.Collator(undefined, { numeric: true });
    cards.sort((a, b) => (by === "name" ? names.compare(a.dataset.name, b.dataset.name) : keys[by](a) - keys[by](b)) || keys.index(a) - keys.index(b));
    list.append(...cards);
    for (const card of cards) card.hidden = !shown.has(card.dataset.verdict);
    form.querySelector("output").textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} shown`;
  };
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
}
