// Keeps pages up to date: the parts marked data-live are fetched again on news and put in place when they differ.

import { fetchText, parsePage } from './html.js';
import { released } from './press.js';

const shown = new Map();
let passedOver = false; // a part had news while somebody typed in it
const OURS = ['open', 'hidden', 'style', 'data-sent', 'tabindex']; // attributes that are not the server's
const LONGEST_PAUSE = 1000;
const LONGEST_RETRY = 60000;

export function remember(root = document) {
  for (const part of root.querySelectorAll('[data-live][id]')) shown.set(part.id, part.outerHTML);
}

// Takes a freshly rendered page; parts that did not change, or that somebody is typing in, stay as they are.
export function merge(page) {
  const words = [];
  const trail = focusTrail();
  passedOver = false;
  for (const fresh of page.querySelectorAll('[data-live][id]')) {
    const old = document.getElementById(fresh.id);
    const html = fresh.outerHTML;
    if (!old) { place(fresh); shown.set(fresh.id, html); continue; }
    if (shown.get(fresh.id) === html) continue;
    if (typedIn(old)) { passedOver = true; continue; }
    if (!old.classList.contains('folded')) fresh.classList.remove('folded');
    for (const box of old.querySelectorAll('.graph-scroll')) {
      box.style.minHeight = `${box.offsetHeight}px`; // a graph of fewer boxes leaves the log where it is
    }
    patch(old, fresh);
    shown.set(old.id, html);
    const word = old.querySelector('[data-word]')?.textContent;
    if (word) words.push(word);
  }
  settle(trail);
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

const typedIn = (part) => part.contains(document.activeElement) && document.activeElement.matches('input, textarea, select');

// Calls `renew` when somebody who typed in a part while there was news for it has gone elsewhere.
export function whenLeft(renew) {
  document.addEventListener('focusout', () => setTimeout(() => {
    if (!passedOver || [...document.querySelectorAll('[data-live][id]')].some(typedIn)) return;
    passedOver = false;
    renew();
  }));
}

// Where the focus is, to be given to settle() after parts have changed: it, what it is in, and its place in its list.
export function focusTrail() {
  const trail = [];
  for (let part = document.activeElement; part && part !== document.body; part = part.parentElement) trail.push(part);
  const row = trail.find((part) => part.matches('li'));
  return { trail, list: row?.parentElement, at: row ? [...row.parentElement.children].indexOf(row) : 0 };
}

// Gives a focus whose part has gone to what is nearest: the row now at its place, else the heading above. Never to a
// button, which the next press of a key would press.
export function settle({ trail, list, at }) {
  const [held] = trail;
  if (!held || (held.isConnected && held.checkVisibility())) return;
  const rows = list?.isConnected ? [...list.children] : [];
  const row = held.matches('a') && rows[Math.min(at, rows.length - 1)]?.querySelector('a');
  const heading = trail.map((part) => (part.isConnected ? part : document.getElementById(part.id))?.querySelector('h1, h2'))
    .find((part) => part?.checkVisibility());
  const next = row || heading;
  if (next === heading) next?.setAttribute('tabindex', '-1');
  next?.focus({ preventScroll: true });
}

// What tells a part from its like; rows are told apart by where they lead.
export function nameOf(part) {
  const told = (name) => part.getAttribute?.(name);
  const own = told('id') ?? told('href') ?? told('action') ?? (told('name') && told('name') + told('value')) ?? told('aria-label');
  const row = own ?? (part.matches?.('li, tr') && part.querySelector('a[href]')?.getAttribute('href'));
  return `${part.nodeName} ${row || told('class')?.split(' ')[0]}`;
}

// Makes a part what the fresh one is. What is in both stays, and with it the focus, the selection, where it is scrolled
// to, what was typed, and what somebody folded or unfolded.
export function patch(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
  if (!fresh.attributes) { old.data = fresh.data; return; }
  const chosen = fresh.matches('details') && fresh.querySelector('[aria-current]') && !old.querySelector('[aria-current]');
  for (const name of [...old.getAttributeNames(), ...fresh.getAttributeNames()]) {
    const value = fresh.getAttribute(name);
    if (OURS.includes(name) || old.getAttribute(name) === value) continue;
    if (value === null) old.removeAttribute(name); else old.setAttribute(name, value);
  }
  if (chosen) old.open = true; // the group that now holds the chosen step
  arrange(old, fresh);
}

// Rows that this page has put into a part, or is deciding on, stay at their place: nothing moves under a pointer. Nor is
// anything moved that has the focus or the selection: others go around it.
const kept = (part) => part.dataset?.kept;
const inUse = (part) => [document.activeElement, getSelection().anchorNode, getSelection().focusNode]
  .some((one) => part.contains(one));

function arrange(old, fresh) {
  const known = Map.groupBy([...old.childNodes].filter((part) => part.id || !kept(part)), nameOf);
  const parts = [...fresh.childNodes].map((part) => [known.get(nameOf(part))?.shift() ?? part, part]);
  const staying = new Set(parts.map(([part]) => part));
  for (const part of [...old.childNodes]) if (!staying.has(part) && !kept(part)) part.remove();
  let at = old.firstChild;
  for (const [part, like] of parts) {
    if (kept(part)) continue;
    while (at && at !== part && (kept(at) || (part.parentNode === old && !inUse(at)))) {
      const other = at;
      at = at.nextSibling;
      if (!kept(other)) other.remove();
    }
    if (part === at) at = at.nextSibling; else old.insertBefore(part, at);
    if (part !== like) patch(part, like);
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
