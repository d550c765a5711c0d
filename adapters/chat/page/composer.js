// The message box: text, attached images, and sending.

import { el } from "./markdown.js";
import { maxFileBytes } from "./server.js";

const byId = (id) => document.getElementById(id);

export class Composer {
  constructor(onSend) {
    Object.assign(this, { onSend, files: [], draftId: null, text: byId("text"), sending: false });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.text.addEventListener("input", () => this.refresh());
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.submit();
      }
    });
    byId("attach").addEventListener("click", () => byId("picker").click());
    byId("picker").addEventListener("change", ({ target }) => {
      this.add(target.files);
      target.value = "";
    });
    document.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) event.preventDefault();
      this.add(event.clipboardData.files);
    });
    this.acceptDrops();
    this.refresh();
  }

  acceptDrops() {
    const drop = byId("drop");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    window.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      drop.hidden = false;
    });
    window.addEventListener("dragleave", (event) => (drop.hidden = event.relatedTarget === null || drop.hidden));
    window.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      drop.hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  add(files) {
    for (const file of files) {
      if (file.size > maxFileBytes) this.say(tooLarge(file));
      else if (this.files.length >= 8) this.say("Eight files fit in one message.");
      else this.files.push({ file, url: URL.createObjectURL(file) });
    }
    this.draftId = null;
    this.refresh();
    this.text.focus();
  }

  remove(entry) {
    URL.revokeObjectURL(entry.url);
    this.files = this.files.filter((other) => other !== entry);
    this.refresh();
    this.text.focus();
  }

  async submit() {
    const text = this.text.value.trim();
    if (this.sending || (!text && !this.files.length)) return;
    this.sending = true;
    this.refresh();
    const fresh = this.draftId?.text !== text;
    if (fresh) this.draftId = { text, id: crypto.randomUUID() };
    try {
      await this.onSend(this.draftId.id, text, this.files.map((entry) => entry.file));
      this.clear();
    } catch (error) {
      this.say(error instanceof TypeError ? "The bot can't be reached. Your message is still here; send it again." : error.message);
    }
    this.sending = false;
    this.refresh();
  }

  clear() {
    for (const entry of this.files) URL.revokeObjectURL(entry.url);
    Object.assign(this, { files: [], draftId: null });
    this.text.value = "";
    this.say("");
  }

  say(sentence) {
    byId("notice").textContent = sentence;
    byId("notice").hidden = !sentence;
  }

  refresh() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 220)}px`;
    byId("send").disabled = this.sending || (!this.text.value.trim() && !this.files.length);
    byId("files").replaceChildren(...this.files.map((entry) => this.chip(entry)));
  }

  chip(entry) {
    const drop = el("button", { type: "button", ariaLabel: `Remove ${entry.file.name}`, textContent: "×" });
    drop.addEventListener("click", () => this.remove(entry));
    const isImage = entry.file.type.startsWith("image/");
    const face = isImage ? el("img", { src: entry.url, alt: entry.file.name }) : el("span", {}, entry.file.name);
    return el("li", { title: entry.file.name }, face, drop);
  }
}

function tooLarge(file) {
  const megabytes = (size) => `${(size / 1024 / 1024).toFixed(1)} MB`;
  return `“${file.name}” has ${megabytes(file.size)}; the limit is ${megabytes(maxFileBytes)}.`;
}
