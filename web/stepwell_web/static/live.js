// Keeps pages up to date: the parts marked data-live are fetched again on news and put in place when they differ.

import { fetchText, parsePage } from './html.js';
import { released } from './press.js';

const shown = new Map();
const LONGEST_PAUSE = 1000;
const LONGEST_RETRY = 60000;

export function remember(root = document) {
  for (const part of root.querySelectorAll('[data-live][id]')) shown.set(part.id, part.outerHTML);
}

// Takes a freshly rendered page; parts that did not change, or that somebody is typing in, stay as they are.
export function merge(page) {
  const words = [];
  for (const fresh of page.querySelectorAll('[data-live][id]')) {
    const old = document.getElementById(fresh.id);
    const html = fresh.outerHTML;
    if (!old) { place(fresh); shown.set(fresh.id, html); continue; }
    if (shown.get(fresh.id) === html) continue;
    if (old.contains(document.activeElement) && document.activeElement.matches('input, textarea, select')) continue;
    const focused = old.contains(document.activeElement) ? selectorOf(document.activeElement) : null;
    const graphs = [...old.querySelectorAll('.graph-scroll')];
    const scrolled = graphs.map((box) => [box.scrollLeft, box.scrollTop, box.offsetHeight]);
    const menus = [...old.querySelectorAll('details.menu')].map((menu) => menu.open);
    const top = old.scrollTop;
    const unfolded = old.classList.contains('folded') === false && fresh.classList.contains('folded');
    const groups = [...old.querySelectorAll('details[id]')].map((one) => [one.id, one]);
    const part = document.adoptNode(fresh);
    unfold(part, new Map(groups));
    keep(old, part);
    old.replaceWith(part);
    if (unfolded) part.classList.remove('folded');
    part.scrollTop = top;
    part.querySelectorAll('.graph-scroll').forEach((box, n) => {
      if (!scrolled[n]) return;
      const [left, top, height] = scrolled[n];
      box.style.minHeight = `${height}px`; // a graph of fewer boxes leaves the log where it is
      box.scrollTo(left, top);
    });
    part.querySelectorAll('details.menu').forEach((menu, n) => { menu.open = menus[n] ?? false; });
    if (focused) part.querySelector(focused)?.focus({ preventScroll: true });
    shown.set(part.id, html);
    const word = part.querySelector('[data-word]')?.textContent;
    if (word) words.push(word);
  }
  if (page.title) document.title = page.title;
  const icon = page.querySelector('link[rel="icon"]')?.getAttribute('href');
  const tab = document.querySelector('link[rel="icon"]');
  if (icon && tab.getAttribute('href') !== icon) tab.setAttribute('href', icon);
  const state = page.body.dataset.state;
  if (state && state !== document.body.dataset.state) {
    document.body.dataset.state = state;
    document.getElementById('status').textContent = `Run: ${words[0] ?? state}`;
  }
}

// How to find in the new part what had the focus in the old one: a link, or what unfolds a group.
function selectorOf(element) {
  const href = element.getAttribute('href');
  if (href) return `[href="${CSS.escape(href)}"]`;
  const group = element.matches('summary') && element.closest('details[id]');
  return group ? `#${CSS.escape(group.id)} > summary` : null;
}

// What somebody folded or unfolded stays so, but a group that now holds the chosen step is shown.
function unfold(part, before) {
  for (const group of part.querySelectorAll('details[id]')) {
    const old = before.get(group.id);
    const chosen = group.querySelector('[aria-current]') && !old?.querySelector('[aria-current]');
    if (old && !chosen) group.open = old.open;
  }
}

// Rows that this page has put into a part, or is deciding on, stay at their place, so nothing moves under a pointer.
function keep(old, part) {
  const rows = [...old.children];
  for (const row of rows.filter((one) => one.dataset.kept)) {
    [...part.children].find((one) => row.id && one.id === row.id)?.remove();
    const before = rows.slice(0, rows.indexOf(row)).reverse();
    const anchor = before.map((one) => (one.dataset.kept ? one : [...part.children].find((two) => one.id && two.id === one.id)))
      .find(Boolean);
    if (anchor) anchor.after(row); else (part.querySelector(':scope > :not(h2)') ?? part.lastChild).before(row);
  }
}

// A part that was not there before goes behind the part that stands before it in the new page.
function place(fresh) {
  let before = fresh.previousElementSibling;
  while (before && !(before.id && document.getElementById(before.id))) before = before.previousElementSibling;
  const anchor = before ? document.getElementById(before.id) : null;
  if (anchor) anchor.after(document.adoptNode(fresh));
}

// What was asked for before somebody went elsewhere on the page, to another step, would take them back.
export async function refresh() {
  const here = () => location.pathname + location.search;
  let asked;
  let text;
  do {
    asked = here();
    text = await fetchText(new URL(asked, location.href));
    await released();
  } while (asked !== here());
  merge(parsePage(text));
}

// Opens a stream while the page is seen; a hidden tab holds no connection and catches up when it comes back.
export class Stream {
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
    this.source = null;
    document.addEventListener('visibilitychange', () => (document.hidden ? this.close() : this.open()));
    addEventListener('pagehide', () => this.close());
    this.open();
  }

  open() {
    if (this.source || this.over || document.hidden) return;
    this.source = new EventSource(this.address());
    for (const [name, handle] of Object.entries(this.handlers)) {
      this.source.addEventListener(name, (event) => handle(event));
    }
    this.source.addEventListener('over', () => { this.over = true; this.close(); });
    this.source.addEventListener('error', () => {
      if (this.source?.readyState !== EventSource.CLOSED) return;
      this.close();
      setTimeout(() => this.open(), 3000);
    });
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  restart() {
    this.over = false;
    this.close();
    this.open();
  }
}

// Calls `work` soon, never twice at the same time, and on a page that takes long to renew not most of the time. What
// failed, as it does without a network, is tried again: no other news may come.
export function debounced(work, pause) {
  let timer = 0;
  let busy = false;
  let again = false;
  let cost = 0;
  let failures = 0;
  const go = async () => {
    timer = 0;
    if (busy) { again = true; return; }
    busy = true;
    const begun = performance.now();
    try {
      await work();
      failures = 0;
    } catch (error) {
      console.info('not up to date:', error.message);
      failures += 1;
    }
    cost = performance.now() - begun;
    busy = false;
    if (failures) after(Math.min(LONGEST_RETRY, 1000 * 2 ** failures));
    else if (again) soon();
    again = false;
  };
  const after = (time) => { timer ||= setTimeout(go, time); };
  const soon = () => {
    if (failures) { clearTimeout(timer); timer = 0; }
    after(Math.max(pause, Math.min(cost * 3, LONGEST_PAUSE)));
  };
  return soon;
}
