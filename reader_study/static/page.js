// What several pages share: requests that only our own pages can send, the choice of the language, consent.

export function post(path, content) {
  return fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Reader-Study": "1" },
    body: JSON.stringify(content),
    signal: AbortSignal.timeout(10000),
  });
}

const target = document.body.dataset.target;
if (target) location.replace(target); // the personal link leaves the address bar and the history

document.getElementById("language")?.addEventListener("change", async (event) => {
  await post("/language", { language: event.target.value });
  location.reload();
});

const consent = document.getElementById("consent");
consent?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const note = consent.querySelector("[role=status]");
  try {
    const reply = await post("/consent", {});
    if (!reply.ok) throw new Error(reply.status);
    location.replace("/");
  } catch {
    note.textContent = consent.dataset.failed;
    note.hidden = false;
  }
});

// A page that the browser kept may be older than what the server knows.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
