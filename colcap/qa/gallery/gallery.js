"use strict";

// The page works without this script: it only hides, orders and marks what is there. Text is read with textContent
// and never turned into HTML.

const get = (id) => document.getElementById(id);
const list = get("cards");
const cards = [...list.children].map(describe);
const total = { windows: 0, clips: 0 };
for (const card of cards) total[card.of] += 1;
const controls = ["status", "kind", "finish", "clip", "set", "beside", "differing", "sort"].map(get).filter(Boolean);

function describe(element) {
  const said = [...element.querySelectorAll(".said")];
  const { clip, of, order } = element.dataset;
  return { element, said, clip, of, order: Number(order), text: fold(element.textContent) };
}

function fold(text) {
  return text.toLowerCase().replace(/\s+/g, " ");
}

// What is shown

function choices() {
  const value = (id) => get(id)?.value ?? "";
  return {
    words: fold(value("search")).split(" ").filter(Boolean),
    clip: fold(value("clip")).trim(),
    sets: [value("set"), value("set") && value("beside")].filter(Boolean), // none: all sets, also to compare with one
    comparing: Boolean(value("beside")),
    differing: get("differing")?.checked ?? false,
    status: value("status"),
    kind: value("kind"),
    finish: value("finish"),
    sort: value("sort"),
  };
}

function update() {
  const chosen = choices();
  const shown = { windows: 0, clips: 0 };
  for (const card of cards) {
    const visible = matches(card, chosen);
    card.element.hidden = !visible;
    shown[card.of] += visible;
  }
  get("count").value = told(shown);
  get("nothing").hidden = shown.windows + shown.clips > 0;
  const filtering = controls.filter((control) => control.value && control.type !== "checkbox").length + chosen.differing;
  get("active").textContent = filtering ? ` (${filtering})` : "";
  get("reset").hidden = !filtering && !chosen.words.length;
  order(chosen);
  mark(chosen);
  makeReachable();
}

function told(shown) {
  const windows = part(shown.windows, total.windows, "window");
  return total.clips ? `${windows}, ${part(shown.clips, total.clips, "clip")} without windows` : windows;
}

function part(shown, all, noun) {
  const of = shown === all ? "" : `${shown.toLocaleString("en")} of `;
  return `${of}${all.toLocaleString("en")} ${noun}${all === 1 ? "" : "s"}`;
}

function matches(card, chosen) {
  const shown = card.said.filter((said) => !chosen.sets.length || chosen.sets.includes(said.dataset.set));
  for (const said of card.said) said.hidden = !shown.includes(said); // first: the order of hidden cards needs it too
  if (!chosen.words.every((word) => card.text.includes(word))) return false;
  if (chosen.clip && !fold(card.clip).includes(chosen.clip)) return false;
  if (chosen.differing && new Set(shown.map(captionOf)).size < 2) return false;
  return shown.some(
    ({ dataset }) =>
      (!chosen.status || dataset.status === chosen.status) &&
      (!chosen.kind || dataset.kind === chosen.kind) &&
      (!chosen.finish || dataset.finish === chosen.finish),
  );
}

function captionOf(said) {
  return said.querySelector(".caption")?.textContent ?? "";
}

// Order

const largest = (card, number) => Math.max(-1, ...card.said.filter((said) => !said.hidden).map(number));
const length = (card) => largest(card, (said) => captionOf(said).length);
const tokens = (card) => largest(card, (said) => Number(said.dataset.tokens || -1));
const failing = (card) => largest(card, ({ dataset }) => ["ok", "skipped", "error"].indexOf(dataset.status));
const KEYS = {
  "": () => 0,
  status: (card) => -failing(card),
  longest: (card) => -length(card),
  shortest: length,
  most: (card) => -tokens(card),
  fewest: tokens,
};
let sorted = "";

function order({ sort, sets }) {
  const by = sort && [sort, ...sets].join(" "); // the keys are of the captions of these sets
  if (by === sorted) return;
  sorted = by;
  const keyed = cards.map((card) => [KEYS[sort](card), card.order, card.element]);
  keyed.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  list.replaceChildren(...keyed.map(([, , element]) => element));
}

// Marks: ranges of text that CSS colours, the elements stay as they are

function mark(chosen) {
  if (!("highlights" in CSS)) return;
  const visible = cards.filter((card) => !card.element.hidden);
  const found = chosen.words.length ? visible.flatMap((card) => occurrences(card.element, chosen.words)) : [];
  const compared = chosen.comparing || chosen.differing;
  const differs = compared ? visible.flatMap((card) => differences(card.said.filter((said) => !said.hidden))) : [];
  CSS.highlights.set("found", new Highlight(...found.slice(0, 5000)));
  CSS.highlights.set("differs", new Highlight(...differs.slice(0, 20000)));
}

function occurrences(element, words) {
  const ranges = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue; // lower case is longer in a few languages: places would be wrong
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        ranges.push(rangeOf(node, at, at + word.length));
      }
    }
  }
  return ranges;
}

// Words of a caption that not all captions beside it have.
function differences(said) {
  const texts = said.map((one) => one.querySelector(".caption")?.firstChild).filter(Boolean);
  const bags = texts.map((node) => new Set(wordsOf(node).map(([word]) => word)));
  return texts.flatMap((node) =>
    wordsOf(node)
      .filter(([word]) => !bags.every((bag) => bag.has(word)))
      .map(([word, at]) => rangeOf(node, at, at + word.length)),
  );
}

function wordsOf(node) {
  return [...node.data.matchAll(/[\p{L}\p{N}]+/gu)].map((match) => [match[0], match.index]);
}

function rangeOf(node, start, end) {
  const range = new Range();
  range.setStart(node, start);
  range.setEnd(node, end);
  return range;
}

// Keyboard: one window at a time is reached by Tab, the others from there

let current = null;

function makeReachable() {
  const first = [...list.children].find((element) => !element.hidden) ?? null;
  setCurrent(current && !current.hidden ? current : first);
}

function setCurrent(element) {
  current?.setAttribute("tabindex", "-1");
  current = element;
  current?.setAttribute("tabindex", "0");
}

function go(step) {
  const visible = [...list.children].filter((element) => !element.hidden);
  if (!visible.length) return;
  const at = visible.indexOf(current);
  const started = document.activeElement === current ? at + step : at;
  setCurrent(visible[Math.min(visible.length - 1, Math.max(0, started))]);
  current.focus();
}

const ACTIONS = {
  "/": () => get("search").focus(),
  j: () => go(1),
  k: () => go(-1),
  g: () => go(-Infinity),
  G: () => go(Infinity),
  f: () => {
    get("filters").open = !get("filters").open;
    if (get("filters").open) get("status")?.focus();
  },
  p: () => pause(!paused),
  "?": () => get("help").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || get("help").open) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape" && event.target.id === "search") clear();
    return;
  }
  const arrows = event.target.matches(".card") ? { ArrowDown: ACTIONS.j, ArrowUp: ACTIONS.k } : {};
  const actions = get("shortcuts").checked ? { ...ACTIONS, ...arrows } : arrows;
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

function clear() {
  get("search").value = "";
  update();
}

list.addEventListener("focusin", (event) => setCurrent(event.target.closest(".card")));

// Previews: while paused, a canvas with the first frame stands in for each image near the screen

let paused = false;
const near = new Set();
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) near.add(target);
      else near.delete(target);
      show(target);
    }
  },
  { rootMargin: "400px" },
);

function pause(on) {
  paused = on;
  get("pause").textContent = on ? "Play" : "Pause";
  near.forEach(show);
}

function show(figure) {
  const image = figure.querySelector("img");
  figure.querySelector("canvas")?.remove();
  const still = paused && near.has(figure) && image.naturalWidth > 0;
  image.hidden = still;
  if (!still) return;
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", image.alt);
  canvas.getContext("2d").drawImage(image, 0, 0);
  figure.append(canvas);
}

for (const image of list.querySelectorAll("figure img")) {
  watcher.observe(image.parentElement);
  image.addEventListener("load", () => paused && show(image.parentElement));
}

// Light and dark

const THEMES = ["auto", "light", "dark"];

function nextTheme() {
  const root = document.documentElement;
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
  root.dataset.theme = theme;
  get("theme").textContent = `Theme: ${theme}`;
}

// Start

// A window that is gone to must not end up under the header.
function keepClearOfHeader([{ target }]) {
  const sticky = getComputedStyle(target).position === "sticky";
  document.documentElement.style.scrollPaddingTop = sticky ? `${target.offsetHeight}px` : "0";
}

let waiting = 0;
get("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(update, 60);
});
for (const control of controls) control.addEventListener(control.id === "clip" ? "input" : "change", update);
get("reset").addEventListener("click", () => {
  for (const control of controls) {
    control.value = "";
    control.checked = false;
  }
  clear();
});
get("pause").addEventListener("click", () => pause(!paused));
get("theme").addEventListener("click", nextTheme);
get("keys").addEventListener("click", ACTIONS["?"]);
get("filters").open = window.matchMedia("(min-width: 44.01rem) and (min-height: 50rem)").matches;
new ResizeObserver(keepClearOfHeader).observe(document.querySelector("header"));
if (window.matchMedia("(prefers-reduced-motion: reduce)").matches) pause(true);
update();
