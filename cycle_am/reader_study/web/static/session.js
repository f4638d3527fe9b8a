// Whose page it is, requests that only our own pages can send, and the answers that are not acknowledged yet.

// The path below which the pages lie: "", or "/study" where study.create.url has one.
export const root = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
export const own = document.body.dataset.reader; // absent where a page belongs to nobody

// A tab belongs to the reader whose link was opened in it last; a browser has one cookie for all its tabs.
const tab = `tab/${root}`; // studies below several paths of one host share what a tab remembers
if (own && (document.body.dataset.target || !sessionStorage.getItem(tab))) sessionStorage.setItem(tab, own);
const foreign = own !== undefined && sessionStorage.getItem(tab) !== own;
if (foreign) disown();

// Another reader's link was opened in this browser: nothing goes out from here in their name.
function disown() {
  document.body.classList.add("disowned");
  document.getElementById("foreign").hidden = false;
}

export async function post(path, content) {
  if (foreign) return new Response("{}", { status: 412 });
  const reply = await fetch(root + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Reader-Study": "1", "X-Reader-Page": own },
    body: JSON.stringify(content),
    signal: AbortSignal.timeout(10000),
  });
  if (reply.status === 412) disown();
  return reply;
}

// Something that this tab remembers for this reader alone, as JSON.
export function remember(name, value) {
  sessionStorage.setItem(`${name}/${own}`, JSON.stringify(value));
}

export function recall(name) {
  return JSON.parse(sessionStorage.getItem(`${name}/${own}`));
}

// Answers as they are sent, oldest first: a reload finds them again, and so does who opens their link again.
export function kept() {
  return recall("unsent") ?? [];
}

export function keep(answer) {
  remember("unsent", [...without(answer), answer]);
}

export function drop(answer) {
  remember("unsent", without(answer));
}

function without(answer) {
  return kept().filter((one) => one.request !== answer.request);
}
