// The way to the server: requests with the page's token, and one event stream per thread.

const meta = (name) => document.querySelector(`meta[name="firstline-${name}"]`).content;

export const maxFileBytes = Number(meta("max-file-bytes"));

export async function listThreads() {
  return answer(await fetch("/api/threads"));
}

/** Send a message; the event id makes a second try of the same message harmless. */
export async function send(thread, eventId, text, files) {
  const form = new FormData();
  form.append("text", text);
  form.append("event_id", eventId);
  for (const file of files) form.append("files", file, file.name);
  const headers = { "X-Firstline-Token": meta("token") };
  const response = await fetch(`/api/threads/${thread}/messages`, { method: "POST", body: form, headers });
  return answer(response);
}

async function answer(response) {
  const type = response.headers.get("content-type") ?? "";
  const body = type.includes("json") ? await response.json() : {};
  if (!response.ok) throw new Error(body.error ?? `The server answered ${response.status}. Please try again.`);
  return body;
}

/** Follow a thread; reconnects for ever, and rests while the tab is hidden. */
export class Follower {
  constructor({ onPacket, onLink }) {
    Object.assign(this, { onPacket, onLink, thread: null, last: "", source: null, timer: 0 });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.connect()));
  }

  follow(thread) {
    this.close();
    this.thread = thread;
    this.last = "";
    this.connect();
  }

  connect() {
    if (this.source || !this.thread || document.hidden) return;
    const source = new EventSource(`/api/threads/${this.thread}/events?after=${this.last}`);
    this.source = source;
    source.onopen = () => this.onLink(true);
    source.onmessage = (event) => {
      this.last = event.lastEventId;
      this.onPacket(JSON.parse(event.data));
    };
    source.onerror = () => {
      this.onLink(false);
      if (source.readyState !== EventSource.CLOSED) return;
      this.close();
      this.timer = setTimeout(() => this.connect(), 2000);
    };
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
