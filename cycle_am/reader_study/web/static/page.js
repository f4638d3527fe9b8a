// What several pages share: the way from a link to its page, the choice of the language, consent.

import { own, post, root } from "./session.js";
import { Saver } from "./saver.js";

const target = document.body.dataset.target;
if (target) location.replace(target); // the personal link leaves the address bar and the history
else if (own && !document.getElementById("scales")) new Saver().resume(); // the rating page does it itself

document.getElementById("language")?.addEventListener("change", async (event) => {
  const reply = await post("/language", { language: event.target.value });
  if (reply.ok) location.reload();
});

const consent = document.getElementById("consent");
consent?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const note = consent.querySelector("[role=status]");
  try {
    const reply = await post("/consent", {});
    if (!reply.ok) throw new Error(reply.status);
    location.replace(`${root}/`);
  } catch {
    note.textContent = consent.dataset.failed;
    note.hidden = false;
  }
});

// A page that the browser kept may be older than what the server knows.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
