// Sends answers, one after another for each criterion, until the server has acknowledged each of them.

import { drop, keep, kept, post } from "./session.js";

const WAITS = [500, 1000, 2000, 4000, 8000]; // milliseconds before the next attempt
const REFUSED = { 401: "session", 403: "session", 412: "other" }; // the answer stays until its reader is back

export class Saver {
  #item;
  #revisions = new Map(); // key -> revision of the answer that the reader sees
  #waiting = new Map(); // key -> answers that are not sent yet, oldest first
  #running = new Map(); // key -> promise of its sending
  #show;

  // revisions: criterion -> revision. show(state, criterion, rating): "saving", "saved", "offline", "conflict",
  // "session", "closed", "other" or "not_saved"; with "saved" and "conflict" the rating that the server holds, null for
  // none. Of another item's answers no criterion is told.
  constructor(item, revisions = [], show = () => {}) {
    this.#item = item;
    this.#show = show;
    for (const [criterion, revision] of revisions) this.#revisions.set(key({ item, criterion }), revision);
  }

  get busy() {
    return this.#running.size > 0;
  }

  // When nothing is left to be sent.
  async settled() {
    while (this.busy) await Promise.all(this.#running.values());
  }

  // shown: what was before the reader.
  save(criterion, rating, shown) {
    const answer = { item: this.#item, criterion, rating, seen: 0, request: newId(), shown };
    answer.seen = this.#revisions.get(key(answer)) ?? 0;
    this.#queue(answer).splice(0).forEach(drop); // a newer rating takes the place of one that was never sent
    this.#start(answer);
  }

  // What was not acknowledged before the page was left. Returns this item's answers, oldest first.
  resume() {
    const left = kept();
    for (const answer of [...left].reverse()) this.#revisions.set(key(answer), answer.seen); // the oldest's holds
    for (const answer of left) this.#start(answer);
    return left.filter((answer) => answer.item === this.#item);
  }

  #queue(answer) {
    if (!this.#waiting.has(key(answer))) this.#waiting.set(key(answer), []);
    return this.#waiting.get(key(answer));
  }

  #start(answer) {
    keep(answer);
    this.#queue(answer).push(answer);
    if (!this.#running.has(key(answer))) this.#running.set(key(answer), this.#send(answer));
  }

  async #send(first) {
    const criterion = first.item === this.#item ? first.criterion : null;
    const queue = this.#queue(first);
    this.#show("saving", criterion);
    let [state, held] = [];
    while (queue.length) [state, held] = await this.#settle(queue.shift(), queue, criterion);
    this.#running.delete(key(first));
    if (state !== "saved" || !this.busy) this.#show(state, criterion, held);
  }

  // An answer keeps its request id from the first attempt to the last: when only the reply was lost, the server
  // recognises it and saves nothing twice. A newer rating waits until this one is settled.
  async #settle(answer, queue, criterion) {
    answer.seen = this.#revisions.get(key(answer)) ?? answer.seen;
    keep(answer);
    for (let attempt = 0; ; attempt++) {
      const reply = await post("/answer", answer).catch(() => null);
      if (reply?.ok || reply?.status === 409) {
        const current = await reply.json().catch(() => null);
        if (current) return this.#accept(answer, queue, current, reply.ok);
      } else if (reply && reply.status < 500 && reply.status !== 429) {
        queue.splice(0);
        return [await refused(reply, answer)];
      }
      if (attempt > 0) this.#show("offline", criterion);
      await online(WAITS[Math.min(attempt, WAITS.length - 1)]);
    }
  }

  // What the server holds. Another window's newer answer is shown, not overwritten: the reader decides again.
  #accept(answer, queue, current, saved) {
    this.#revisions.set(key(answer), current.revision);
    drop(answer);
    if (!saved) queue.splice(0).forEach(drop);
    return [saved || answer.item !== this.#item ? "saved" : "conflict", current.rating];
  }
}

function key({ item, criterion }) {
  return `${item}/${criterion}`;
}

// Why the server did not take an answer; what can never be taken is given up.
async function refused(reply, answer) {
  const { error } = await reply.json().catch(() => ({}));
  if (!(reply.status in REFUSED)) drop(answer);
  return error === "closed" ? "closed" : (REFUSED[reply.status] ?? "not_saved");
}

// 128 random bits; crypto.randomUUID is not there without HTTPS.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// After a while, or as soon as the browser is online again.
function online(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    }
    addEventListener("online", done);
  });
}
