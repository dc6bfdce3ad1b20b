// Search or jump: what the server finds, the steps and tabs of this page, and what can be done here.

import { fetchText, parsePage } from './html.js';

const dialog = document.querySelector('#jump');
const field = dialog?.querySelector('input');
const list = dialog?.querySelector('ul');
const nothing = dialog?.querySelector('.jump-nothing');
const MOST_STEPS = 20;
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
let fixed = { own: [], acts: [], steps: [] };
let asked = 0;
let timer = 0;

function entry(words, icon, target) {
  const item = document.createElement('li');
  const made = document.createElement(typeof target === 'string' ? 'a' : 'button');
  if (typeof target === 'string') made.href = target;
  else {
    made.type = 'button';
    made.addEventListener('click', () => { dialog.close(); target(); });
  }
  made.append(...(icon ? [icon.cloneNode(true)] : []), Object.assign(document.createElement('span'), { textContent: words }));
  item.append(made);
  return item;
}

// What this page offers: its tabs, and last what its head's buttons do.
function here() {
  const tabs = all('.tabs a:not([aria-current])').map((tab) => (
    entry(`Go to ${tab.firstChild.textContent.trim()}`, null, tab.getAttribute('href'))
  ));
  const acts = all('.head .actions button').map((button) => (
    entry(button.textContent.trim(), button.querySelector('svg'), () => button.form?.requestSubmit(button))
  ));
  const theme = document.querySelector('[data-theme-button]');
  const light = theme ? [entry('Switch between light and dark', theme.querySelector('svg'), () => theme.click())] : [];
  const out = document.querySelector('#signout');
  const leave = out ? [entry('Sign out', out.querySelector('svg'), () => out.requestSubmit())] : [];
  return { tabs, acts: [...light, ...leave, ...acts], steps: all('#steps a.step').map(step) };
}

function step(row) {
  const made = entry(row.querySelector('.step-name').textContent.trim(), row.querySelector('svg'), row.getAttribute('href'));
  const link = made.firstChild;
  link.dataset.step = '';
  link.addEventListener('click', () => dialog.close()); // the page stays: only another step opens
  return made;
}

function show(found) {
  const text = field.value.trim().toLowerCase();
  const fits = (items) => items.filter((item) => item.textContent.toLowerCase().includes(text));
  const [own, acts] = [fits(fixed.own), fits(fixed.acts)];
  const begins = (item) => ` ${item.textContent.trim().toLowerCase()}`.split(text)[0].endsWith(' ');
  const steps = text ? fits(fixed.steps).slice(0, MOST_STEPS) : [];
  const known = new Set(own.map((item) => item.querySelector('a')?.getAttribute('href')).filter(Boolean));
  const more = found.filter((item) => !known.has(item.querySelector('a').getAttribute('href')));
  const [well, badly] = [own.filter(begins), own.filter((item) => !begins(item))]; // "round" is no word of "Playground"
  list.replaceChildren(...steps, ...well, ...more, ...badly, ...acts);
  all('.enters', list).forEach((item) => item.classList.remove('enters'));
  if (text) list.querySelector('li:has(> a)')?.classList.add('enters');
  nothing.textContent = '';
}

async function search() {
  const text = field.value.trim();
  const mine = ++asked;
  show([]);
  if (text.length < 2) { sayWhenEmpty('Nothing found'); return; }
  const answer = await fetchText(`/search?q=${encodeURIComponent(text)}`).catch(() => null);
  if (mine !== asked || !dialog.open) return;
  show(answer === null ? [] : all('#results > li', parsePage(answer)));
  sayWhenEmpty(answer === null ? 'The search gives no answer now' : 'Nothing found');
}

function sayWhenEmpty(words) {
  if (!list.children.length) nothing.textContent = words;
}

if (dialog) {
  const places = all('li', list);
  field.addEventListener('input', () => { clearTimeout(timer); show([]); timer = setTimeout(search, 120); });
  dialog.addEventListener('jump', () => {
    const { tabs, acts, steps } = here();
    const known = new Set(places.map((item) => item.firstChild.getAttribute('href')));
    const more = tabs.filter((item) => !known.has(item.firstChild.getAttribute('href')));
    fixed = { own: [...places, ...more], acts, steps };
    field.value = '';
    show([]);
  });
  dialog.addEventListener('keydown', (event) => {
    const rows = all('li :is(a, button)', list);
    const at = rows.indexOf(document.activeElement);
    if (event.key === 'Enter' && at < 0) {
      event.preventDefault();
      rows.find((row) => row.matches('a'))?.click(); // Enter alone goes somewhere, it never does anything
    }
    if (event.key === 'Escape') { event.preventDefault(); dialog.close(); } // a search field would only empty itself
    if (event.key === 'ArrowDown') { event.preventDefault(); rows[Math.min(at + 1, rows.length - 1)]?.focus(); }
    if (event.key === 'ArrowUp') { event.preventDefault(); (rows[at - 1] ?? field).focus(); }
  });
}
