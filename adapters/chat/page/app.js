// Wires the page: thread list, transcript, message box.

import { Composer } from "./composer.js";
import { el, visible } from "./markdown.js";
import { Follower, listThreads, send } from "./server.js";
import { Transcript } from "./transcript.js";

const byId = (id) => document.getElementById(id);
const scroll = byId("scroll");
const transcript = new Transcript(byId("log"));
let threads = [];
let current = "";
let packets = [];
let wasWorking = false;
let pinned = true; // to the newest message

const follower = new Follower({ onPacket: take, onLink: showLink });
const composer = new Composer(async (eventId, text, files) => {
  pinned = true;
  const { accepted } = await send(current, eventId, text, files);
  await refreshThreads();
  if (!accepted && transcript.isEmpty) throw new Error("The bot did not take this message.");
});

/** Packets are applied once per frame; a hidden tab has no frames and no stream. */
function take(packet) {
  packets.push(packet);
  if (packets.length === 1) requestAnimationFrame(apply);
}

function apply() {
  for (const packet of packets) transcript.apply(packet);
  packets = [];
  byId("empty").hidden = !transcript.isEmpty;
  if (pinned) scroll.scrollTop = scroll.scrollHeight;
  if (wasWorking && !transcript.isWorking) refreshThreads().catch(() => showLink(false));
  wasWorking = transcript.isWorking;
}

function showLink(up) {
  byId("link").textContent = up ? "" : "Reconnecting…";
}

async function refreshThreads() {
  const answer = await listThreads();
  threads = answer.threads;
  byId("banner").replaceChildren(...answer.banner.map((line) => el("p", {}, visible(line))));
  byId("banner").hidden = !answer.banner.length;
  drawThreads();
}

function drawThreads() {
  const title = visible(threads.find((thread) => thread.thread_id === current)?.title ?? "New thread");
  byId("title").textContent = title;
  document.title = `${title} · firstline`;
  const focused = document.activeElement?.getAttribute("href");
  byId("threads").replaceChildren(...threads.map(threadLine));
  if (focused) byId("threads").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function threadLine({ thread_id, title, last_activity }) {
  const when = el("time", { dateTime: new Date(last_activity * 1000).toISOString() }, ago(last_activity));
  const line = el("a", { href: `#/t/${thread_id}` }, el("span", {}, visible(title)), when);
  if (thread_id === current) line.setAttribute("aria-current", "page");
  return el("li", {}, line);
}

function ago(epochSeconds) {
  const minutes = (Date.now() / 1000 - epochSeconds) / 60;
  if (minutes < 1) return "now";
  if (minutes < 60) return `${Math.floor(minutes)} min`;
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h`;
  return new Date(epochSeconds * 1000).toLocaleDateString(undefined, { month: "short", day: "numeric" });
}

function openThread() {
  const wanted = /^#\/t\/([A-Za-z0-9-]{8,64})$/.exec(location.hash)?.[1];
  if (!wanted) return location.replace(`#/t/${crypto.randomUUID()}`);
  if (wanted === current) return;
  current = wanted;
  pinned = true;
  packets = [];
  transcript.clear();
  byId("empty").hidden = true;
  follower.follow(current);
  drawThreads();
  showSide(false);
  composer.text.focus();
}

function showSide(shown) {
  document.body.classList.toggle("side-open", shown);
  byId("shade").hidden = !shown;
  byId("menu").setAttribute("aria-expanded", String(shown));
  if (shown) byId("new").focus();
}

byId("new").addEventListener("click", () => (location.hash = `#/t/${crypto.randomUUID()}`));
byId("menu").addEventListener("click", () => showSide(!document.body.classList.contains("side-open")));
byId("shade").addEventListener("click", () => showSide(false));
byId("down").addEventListener("click", () => {
  scroll.scrollTop = scroll.scrollHeight;
  composer.text.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  showSide(false);
  composer.text.focus();
});
for (const example of document.querySelectorAll(".examples button")) {
  example.addEventListener("click", () => {
    composer.text.value = example.textContent;
    composer.submit();
  });
}
scroll.addEventListener("scroll", () => {
  pinned = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 60;
  byId("down").hidden = pinned;
});
window.addEventListener("hashchange", openThread);
window.addEventListener("focus", () => refreshThreads().catch(() => showLink(false)));

if (location.search) history.replaceState(null, "", location.pathname + location.hash); // hides the key
openThread();
refreshThreads().catch((error) => composer.say(error.message));
