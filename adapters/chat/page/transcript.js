// The transcript: entries by id, each re-rendered only where it changed.

import { blocks, el, renderBlock, visible } from "./markdown.js";

export class Transcript {
  constructor(log) {
    this.log = log;
    this.entries = new Map();
  }

  clear() {
    this.entries.clear();
    this.log.replaceChildren();
  }

  /** Apply one packet of the event stream. */
  apply({ reset, order, entries }) {
    if (reset) this.clear();
    for (const change of entries) this.change(change);
    for (const [id, entry] of this.entries) {
      if (!order.includes(id)) {
        entry.node.remove();
        this.entries.delete(id);
      }
    }
    order.forEach((id, index) => {
      const node = this.entries.get(id)?.node;
      if (node && this.log.children[index] !== node) this.log.insertBefore(node, this.log.children[index] ?? null);
    });
  }

  change(change) {
    let entry = this.entries.get(change.id);
    if (!entry) {
      entry = { parts: [], activities: [], files: [], status: "", state: "done", shapes: [] };
      this.entries.set(change.id, entry);
    }
    const { append, ...rest } = change;
    Object.assign(entry, rest);
    if (append) entry.parts = [entry.parts[0] + append];
    if (!entry.node) entry.node = skeleton(entry);
    draw(entry);
  }

  get isEmpty() {
    return this.entries.size === 0;
  }

  get isWorking() {
    return [...this.entries.values()].some((entry) => entry.state === "working");
  }
}

function skeleton(entry) {
  const who = { user: "You", assistant: "firstline", notice: "Notice" }[entry.kind];
  entry.steps = el("div");
  entry.body = el("div", { className: "body" });
  entry.foot = el("div", { className: "foot" });
  const label = el("span", { className: "sr" }, `${who}: `);
  return el("article", { className: entry.kind }, label, entry.steps, entry.body, entry.foot);
}

function draw(entry) {
  entry.node.dataset.state = entry.state;
  entry.node.setAttribute("aria-busy", String(entry.state === "working"));
  drawSteps(entry);
  drawText(entry);
  drawFoot(entry);
}

function drawText(entry) {
  const shapes = entry.kind === "user" ? entry.parts : entry.parts.flatMap((part) => blocks(part));
  let same = 0;
  while (same < shapes.length && shapes[same] === entry.shapes[same]) same += 1;
  while (entry.body.children.length > same) entry.body.lastElementChild.remove();
  for (const shape of shapes.slice(same)) {
    entry.body.append(entry.kind === "user" ? el("p", { className: "said" }, visible(shape)) : renderBlock(shape));
  }
  entry.shapes = shapes;
}

function drawSteps(entry) {
  const steps = entry.activities;
  const key = JSON.stringify([steps, entry.state]);
  if (key === entry.stepsKey) return;
  entry.stepsKey = key;
  if (!steps.length) return entry.steps.replaceChildren();
  const working = entry.state === "working";
  const box = entry.steps.firstElementChild ?? el("details", { className: "steps", open: working });
  if (!working && entry.wasWorking && !entry.touched) box.open = false;
  entry.wasWorking = working;
  if (!box.parentNode) {
    box.addEventListener("click", () => (entry.touched = true));
    entry.steps.append(box);
  }
  const count = `${steps.length} ${steps.length === 1 ? "step" : "steps"}`;
  const summary = el("summary", {}, working ? `Working · ${count}` : `Used ${count}`);
  box.replaceChildren(summary, el("ol", {}, ...steps.map(step)));
}

function step({ name, state, detail }) {
  const item = el("li", { className: state }, el("span", { className: "sr" }, `${state}: `), el("b", {}, visible(name)));
  if (detail) item.append(" ", el("code", {}, visible(detail)));
  return item;
}

function drawFoot(entry) {
  const key = JSON.stringify([entry.files, entry.status, entry.state, entry.parts.length > 0]);
  if (key === entry.footKey) return;
  entry.footKey = key;
  const nodes = entry.files.map(file);
  if (entry.state === "working" && !entry.parts.length) {
    nodes.push(el("p", { className: "status" }, el("i"), visible(entry.status || "Thinking…")));
  }
  if (entry.state === "interrupted") {
    nodes.push(el("p", { className: "stopped" }, "Interrupted. It goes on when the bot is back."));
  }
  entry.foot.replaceChildren(...nodes);
}

function file({ name, type, url }) {
  const label = visible(name);
  const chip = () => el("span", { className: "chip" }, label);
  if (url && !type) return el("a", { href: url, download: name, className: "chip" }, `⤓ ${label}`);
  if (!url || !type.startsWith("image/")) return chip();
  const picture = el("img", { src: url, alt: label, title: label });
  const open = el("a", { href: url, target: "_blank", rel: "noopener", className: "picture" }, picture);
  picture.addEventListener("error", () => open.replaceWith(chip()));
  return open;
}
