// What every page has: theme, dialogs, copying, durations that grow, keyboard, and lists that stay up to date.

import { fetchText, parsePage } from './html.js';
import './decisions.js';
import './jump.js';
import { Stream, debounced, refresh, remember, whenLeft } from './live.js';
import { localTimes } from './zone.js';

const root = document.documentElement;
const find = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

function reveal() {
  wake();
  localTimes();
}

function wake() {
  all('[data-open], [data-theme-button], [data-copy], [data-copy-line], [data-toggle], [data-with-script]')
    .forEach((part) => { part.hidden = false; });
  all('[data-no-script]').forEach((part) => part.remove());
}

function switchTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  save('theme', root.dataset.theme);
}

function save(name, value) {
  try { localStorage.setItem(name, value); } catch { /* not kept: storage is switched off */ }
}

function saved(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function say(words) {
  find('#status').textContent = words;
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  say('Copied');
  button.setAttribute('aria-pressed', 'true');
  setTimeout(() => button.removeAttribute('aria-pressed'), 1200);
}

document.addEventListener('click', (event) => {
  const target = event.target.closest('[data-open], [data-theme-button], [data-copy], [data-unfold]');
  if (!target) {
    const menu = find('.menu[open]');
    if (menu && !menu.contains(event.target)) menu.open = false;
    return;
  }
  if (target.dataset.open) open(target.dataset.open);
  else if (target.matches('[data-theme-button]')) switchTheme();
  else if (target.matches('[data-unfold]')) { target.closest('.folded')?.classList.remove('folded'); target.remove(); }
  else if (target.dataset.copy) copy(target);
});

function open(id) {
  const dialog = find(`#${id}`);
  if (!dialog || dialog.open) return;
  dialog.showModal();
  dialog.dispatchEvent(new Event(id));
}

for (const dialog of all('dialog')) {
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
}

// What an approval is about opens in front of the page; without it the link leads to a page of its own.
async function review(href) {
  const page = parsePage(await fetchText(href).catch(() => ''));
  const content = find('#review', page);
  if (!content) { location.assign(href); return; }
  if (!find('link[href*="tabs.css"]')) document.head.append(...all('link[href*="run.css"], link[href*="tabs.css"]', page));
  find('dialog.reviewing')?.remove();
  const dialog = document.createElement('dialog');
  dialog.className = 'reviewing';
  dialog.setAttribute('aria-labelledby', 'review-title');
  const close = document.createElement('form');
  close.method = 'dialog';
  const button = document.createElement('button');
  button.className = 'button small quiet';
  button.textContent = 'Close';
  close.append(button);
  dialog.append(document.adoptNode(content), close);
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  const touched = matchMedia('(pointer: coarse)').matches; // there a field's focus opens the keyboard over the buttons
  ((!touched && find('input[name="comment"]', dialog)) || find('h1', dialog)).focus({ preventScroll: true });
}

document.addEventListener('click', (event) => {
  const link = event.target.closest('a[data-review]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  review(link.href);
});

// Durations of what goes on grow in place; the server's words replace them with the next news.
function words(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)}s`;
  const two = (n) => String(Math.floor(n)).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}h ${two((seconds % 3600) / 60)}m`;
  return `${Math.floor(seconds / 86400)}d ${Math.floor((seconds % 86400) / 3600)}h`;
}
function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(Math.max(seconds, 0) * 1000)}ms`;
  return seconds < 9.95 ? `${seconds.toFixed(1)}s` : words(Math.round(seconds));
}
setInterval(() => {
  for (const part of all('[data-since]')) {
    const since = Number(part.dataset.since);
    const text = since ? words(Math.max(0, Date.now() / 1000 - since)) : '';
    if (text && part.textContent !== text) part.textContent = text;
  }
  for (const part of all('[data-due]')) {
    const left = Number(part.dataset.due) - Date.now() / 1000;
    const text = left > 0 ? `in ${words(left)}` : 'now';
    if (part.textContent !== text) part.textContent = text;
  }
}, 1000);

// Keyboard: single keys, off while typing and for those who switch them off.
const keys = {
  '/': () => open('jump'),
  '?': () => open('keys'),
  a: () => {
    const link = find('.gate [data-review]');
    if (link) review(link.href); else location.assign('/approvals');
  },
  j: () => move(1),
  k: () => move(-1),
};
const places = { h: '/', r: document.body.dataset.runs, i: '/approvals', p: '/playground' };
let going = 0;

export function move(by) {
  const rows = all('[data-row]').filter((row) => row.checkVisibility());
  const focused = rows.indexOf(document.activeElement);
  const at = focused < 0 ? rows.findIndex((row) => row.getAttribute('aria-current')) : focused;
  const row = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by))];
  row?.focus();
  if (row?.matches('[data-step]')) row.click();
}

export function onKey(key, work) { keys[key] = work; }

// What was typed into belongs to it. A dialog just closed may keep the focus until the next frame; it owns nothing.
const typedInto = (part) => (
  !part.closest('dialog:not([open])') && part.closest('input, textarea, select, dialog, [contenteditable]')
);

document.addEventListener('keydown', (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key === 'k' && find('#jump')) {
    event.preventDefault();
    open('jump');
    return;
  }
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || saved('keys') === 'off') return;
  if (typedInto(event.target)) return;
  if (going && Date.now() - going < 1200 && places[event.key]) { location.assign(places[event.key]); return; }
  going = event.key === 'g' ? Date.now() : 0;
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
const keySwitch = find('[data-keys-switch]');
if (keySwitch) {
  keySwitch.checked = saved('keys') !== 'off';
  keySwitch.addEventListener('change', () => save('keys', keySwitch.checked ? 'on' : 'off'));
}

document.addEventListener('change', (event) => {
  if (!event.target.matches('[data-check-all]')) return;
  for (const box of all('input[type="checkbox"][name]', event.target.form)) box.checked = event.target.checked;
});

// A form is sent once, however often its button is pressed.
document.addEventListener('submit', (event) => {
  if (event.target.method === 'dialog' || event.target.method === 'get') return;
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = 'yes';
});
addEventListener('pageshow', () => all('form[data-sent]').forEach((form) => { delete form.dataset.sent; }));

if (document.body.dataset.address) history.replaceState(null, '', document.body.dataset.address);
wake();
requestAnimationFrame(() => setTimeout(localTimes)); // a browser's first look at zones takes it longer than the page
remember();
find('.tabs [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest', behavior: 'instant' });
if (document.body.dataset.stream && !find('#log-panel') && !document.body.matches('[data-state]')) {
  const update = debounced(async () => { await refresh(); reveal(); }, 300);
  new Stream(() => document.body.dataset.stream, { changed: update });
  whenLeft(update);
}

export { all, duration, find, reveal, save, saved, say };
