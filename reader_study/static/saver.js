// Sends answers, one after another for each criterion, until the server has acknowledged each of them.

import { post } from "./page.js";

const WAITS = [500, 1000, 2000, 4000, 8000]; // milliseconds before the next attempt

export class Saver {
  #item;
  #revisions; // criterion -> revision of the answer that the reader sees
  #wanted = new Map(); // criterion -> the newest rating that is not sent yet
  #running = new Map(); // criterion -> promise of its sending
  #show;

  // show(state, criterion, rating): "saving", "saved", "offline", "conflict", "session" or "not_saved"; with "saved"
  // and "conflict" the rating that the server holds, null for none.
  constructor(item, revisions, show) {
    this.#item = item;
    this.#revisions = revisions;
    this.#show = show;
  }

  get busy() {
    return this.#running.size > 0;
  }

  // When nothing is left to be sent.
  async settled() {
    while (this.busy) await Promise.all(this.#running.values());
  }

  save(criterion, rating) {
    this.#wanted.set(criterion, rating);
    if (!this.#running.has(criterion)) this.#running.set(criterion, this.#send(criterion));
  }

  async #send(criterion) {
    this.#show("saving", criterion);
    let [state, held] = [];
    while (this.#wanted.has(criterion)) {
      const rating = this.#wanted.get(criterion);
      this.#wanted.delete(criterion);
      [state, held] = await this.#settle(criterion, rating);
    }
    this.#running.delete(criterion);
    if (state !== "saved" || !this.busy) this.#show(state, criterion, held);
  }

  // An answer keeps its request id from the first attempt to the last: when only the reply was lost, the server
  // recognises it and saves nothing twice. A newer rating waits until this one is settled.
  async #settle(criterion, rating) {
    const content = { item: this.#item, criterion, rating, seen: this.#revisions.get(criterion), request: newId() };
    for (let attempt = 0; ; attempt++) {
      const reply = await post("/answer", content).catch(() => null);
      if (reply?.ok || reply?.status === 409) {
        const current = await reply.json().catch(() => null);
        if (current) return this.#accept(criterion, current, reply.ok);
      } else if (reply && reply.status < 500 && reply.status !== 429) {
        this.#wanted.delete(criterion);
        return [[401, 403].includes(reply.status) ? "session" : "not_saved"];
      }
      if (attempt > 0) this.#show("offline", criterion);
      await online(WAITS[Math.min(attempt, WAITS.length - 1)]);
    }
  }

  // What the server holds. Another window's newer answer is shown, not overwritten: the reader decides again.
  #accept(criterion, current, saved) {
    this.#revisions.set(criterion, current.revision);
    if (!saved) this.#wanted.delete(criterion);
    return [saved ? "saved" : "conflict", current.rating];
  }
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
