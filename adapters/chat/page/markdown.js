// Markdown to DOM nodes. Text never passes through an HTML parser, images are never loaded,
// and a link always shows where it leads.

const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e0fff}]/gu;
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(\s*\1){2,}\s*$/;
const ROW = /^\s*\|.*\|\s*$/;
const INLINE =
  /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])\*(?=[^\s*])([^*\n]*?[^\s*])\*(?![\w*])|(?<!\w)_(?=[^\s_])([^_\n]*?[^\s_])_(?!\w)|!?\[([^\]\n]*)\]\(([^\s()]+(?:\([^\s()]*\)[^\s()]*)*)\)|(https?:\/\/[^\s<>"'`]+[^\s<>"'`.,;:!?)\]}*_])/g;

export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export function visible(text) {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(HIDDEN, (char) => `⟨U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** Cut a text into blocks, so that a growing text renders only its last ones anew. */
export function blocks(text) {
  const found = [];
  let lines = [];
  let fence = null;
  const close = () => {
    if (lines.length) found.push(lines.join("\n"));
    lines = [];
  };
  for (const line of visible(text).split("\n")) {
    const mark = FENCE.exec(line)?.[1];
    if (fence) {
      lines.push(line);
      if (mark && mark[0] === fence[0] && mark.length >= fence.length && !line.trim().slice(mark.length)) {
        fence = null;
        close();
      }
    } else if (mark) {
      close();
      fence = mark;
      lines.push(line);
    } else if (!line.trim()) {
      close();
    } else if (/^#{1,6}\s/.test(line) || RULE.test(line)) {
      close();
      lines.push(line);
      close();
    } else {
      if (lines.length && kind(line) !== kind(lines[0]) && !/^\s/.test(line) && kind(line)) close();
      lines.push(line);
    }
  }
  close();
  return joinLists(found);
}

function kind(line) {
  if (ITEM.test(line)) return /^\s*\d/.test(line) ? "ordered" : "bullets";
  if (ROW.test(line)) return "table";
  return /^\s*>/.test(line) ? "quote" : "";
}

/** A blank line between two items does not end their list. */
function joinLists(found) {
  const joined = [];
  for (const block of found) {
    const before = joined.at(-1);
    const first = block.split("\n")[0];
    const inList = before && ITEM.test(before.split("\n")[0]);
    const goesOn = inList && (/^\s{2,}\S/.test(first) || (ITEM.test(first) && kind(first) === kind(before.split("\n")[0])));
    if (goesOn) joined[joined.length - 1] = `${before}\n${block}`;
    else joined.push(block);
  }
  return joined;
}

const MAX_DEPTH = 12; // of quotes and lists in each other

export function renderBlock(block, depth = 0) {
  const lines = block.split("\n");
  const first = lines[0];
  const heading = /^(#{1,6})\s+(.*?)\s*#*\s*$/.exec(first);
  if (depth > MAX_DEPTH) return el("p", {}, ...plain(block));
  if (FENCE.test(first)) return code(lines);
  if (heading) return el(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2]));
  if (RULE.test(first)) return el("hr");
  if (ITEM.test(first)) return list(lines, depth);
  if (lines.length > 1 && ROW.test(first) && /^\s*\|[\s:|-]+\|\s*$/.test(lines[1])) return table(lines);
  if (/^\s*>/.test(first)) {
    const inner = lines.map((line) => line.replace(/^\s*>\s?/, "")).join("\n");
    return el("blockquote", {}, ...blocks(inner).map((part) => renderBlock(part, depth + 1)));
  }
  return el("p", {}, ...inline(block));
}

function code(lines) {
  const [, mark, language] = FENCE.exec(lines[0]);
  const closed = lines.length > 1 && lines.at(-1).trim() === mark;
  const text = lines.slice(1, closed ? -1 : undefined).join("\n");
  const copy = el("button", { type: "button", className: "copy", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  const head = el("div", { className: "code-head" }, el("span", {}, language || "text"), copy);
  return el("div", { className: "code" }, head, el("pre", { tabIndex: 0 }, el("code", {}, text)));
}

function list(lines, depth) {
  const top = ITEM.exec(lines[0]);
  const indent = top[1].length;
  const ordered = /\d/.test(top[2]);
  const node = el(ordered ? "ol" : "ul");
  if (ordered && parseInt(top[2], 10) !== 1) node.start = parseInt(top[2], 10);
  let item = null;
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (match && (match[1].length <= indent + 1 || !item)) node.append((item = newItem(match[3])));
    else item.below.push(line);
  }
  for (const entry of node.children) fill(entry, depth);
  return node;
}

function newItem(text) {
  const item = el("li");
  item.first = [text];
  item.below = [];
  return item;
}

function fill(item, depth) {
  const at = item.below.findIndex((line) => ITEM.test(line) || FENCE.test(line));
  const own = at < 0 ? item.below : item.below.slice(0, at);
  item.append(...inline([...item.first, ...own.map((line) => line.trim())].join("\n")));
  if (at < 0) return;
  const indent = /^\s*/.exec(item.below[at])[0].length;
  const inner = item.below.slice(at).map((line) => line.slice(Math.min(indent, /^\s*/.exec(line)[0].length)));
  item.append(...blocks(inner.join("\n")).map((part) => renderBlock(part, depth + 1)));
}

function table(lines) {
  const cells = (line) =>
    line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
  const row = (tag) => (line) => el("tr", {}, ...cells(line).map((cell) => el(tag, {}, ...inline(cell))));
  const body = el("tbody", {}, ...lines.slice(2).map(row("td")));
  const whole = el("table", {}, el("thead", {}, row("th")(lines[0])), body);
  return el("div", { className: "table", tabIndex: 0 }, whole);
}

export function inline(text, depth = 0) {
  const nodes = [];
  let at = 0;
  for (const match of depth > 3 ? [] : text.matchAll(INLINE)) {
    if (match.index > at) nodes.push(...plain(text.slice(at, match.index)));
    nodes.push(...marked(match, depth + 1));
    at = match.index + match[0].length;
  }
  if (at < text.length) nodes.push(...plain(text.slice(at)));
  return nodes;
}

function marked(match, depth) {
  const [whole, ticks, codeText, bold, star, under, label, target, bare] = match;
  if (ticks) return [el("code", {}, codeText.trim() || codeText)];
  if (bold) return [el("strong", {}, ...inline(bold, depth))];
  if (star || under) return [el("em", {}, ...inline(star || under, depth))];
  if (bare) return [link(bare, bare)];
  if (whole.startsWith("!") || !/^https?:\/\//i.test(target)) return plain(whole);
  return label && label !== target ? [link(target, label), " ", el("span", { className: "url" }, `(${target})`)] : [link(target, target)];
}

function link(target, label) {
  return el("a", { href: target, target: "_blank", rel: "noopener noreferrer nofollow" }, label);
}

function plain(text) {
  return text.split("\n").flatMap((line, index) => (index ? [el("br"), line] : [line]));
}
