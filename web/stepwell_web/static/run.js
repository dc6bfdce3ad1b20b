// The run page: opens steps without a new page, follows the open log, and keeps everything else up to date.

import { fetchText, parsePage } from './html.js';
import { Stream, debounced, focusTrail, merge, nameOf, patch, remember, settle, whenLeft } from './live.js';
import { all, find, reveal } from './app.js';
import { lineKeys } from './lines.js';
import { Log, logKeys } from './log.js';
import { released } from './press.js';

const panel = () => find('#log-panel');
let log = panel() ? new Log(panel()) : null;
let chosen = new URL(location.href).searchParams.has('step');
let stream = null;

const identity = () => (log ? log.panel.dataset.identity : '');

function address() {
  const [path, query] = document.body.dataset.stream.split('?');
  const asked = new URLSearchParams(query);
  if (log?.panel.dataset.open) {
    asked.set('step', log.slug);
    asked.set('attempt', log.attempt);
    asked.set('line', String(log.lines));
  }
  return `${path}?${asked}`;
}

// Who has left the end of the log, looks for something or selects lines reads this step, whatever becomes of others.
function reading() {
  const selection = getSelection();
  return log?.text || (log?.panel.dataset.open && !log.follow)
    || (!selection.isCollapsed && log?.box?.contains(selection.anchorNode));
}

function pageAddress() {
  chosen ||= Boolean(reading());
  const url = new URL(location.href);
  url.hash = '';
  if ((chosen || url.searchParams.has('step')) && log) url.searchParams.set('step', log.slug);
  else url.searchParams.delete('step');
  return url;
}

// Puts a fresh page's parts in place; the log only when it is another one, or has ended.
function take(page, force = false) {
  if (!panel() && find('#log-panel', page)) { begin(page); return; }
  merge(page);
  const fresh = find('#log-panel', page);
  if (fresh && (force || fresh.dataset.identity !== identity())) {
    const following = log?.follow;
    const focused = find('#log-panel :focus');
    const trail = focusTrail();
    const place = focused && all(focused.localName, fresh).find((part) => nameOf(part) === nameOf(focused));
    const [searched, hit] = [!force && place?.closest('.log-find') && log.text, log?.hit];
    log?.destroy();
    if (searched) find('input[name="find"]', fresh).value = searched;
    panel().replaceWith(document.adoptNode(fresh));
    log = new Log(panel());
    if (searched) log.hit = hit - 1; // it is looked for again: the same match is shown
    reveal();
    place?.focus({ preventScroll: true });
    if (!place) settle(trail);
    if (following && log.box) log.end();
    if (!force) showChosen();
    stream?.restart();
  } else {
    reveal();
  }
}

// Brings the chosen step into view in graph, list and log head, each of which scrolls by itself, without moving the page.
function showChosen() {
  all('.graph [aria-current] > rect, .steps [aria-current], .shards [aria-current]').forEach((part) => {
    const box = part.closest('.graph-scroll, .steps, .shards');
    const [frame, there] = [box.getBoundingClientRect(), part.getBoundingClientRect()];
    if (there.top < frame.top || there.bottom > frame.bottom) {
      box.scrollTop += (there.top + there.bottom - frame.top - frame.bottom) / 2;
    }
    if (there.left < frame.left || there.right > frame.right) {
      box.scrollLeft += (there.left + there.right - frame.left - frame.right) / 2;
    }
  });
}

// The first step has come: the page has another shape now.
function begin(page) {
  patch(find('#main'), find('#main', page));
  document.title = page.title;
  remember();
  reveal();
  log = panel() ? new Log(panel()) : null;
  if (log) stream?.restart();
}

// What was asked for before another step was opened would take its reader back: it is asked for again.
const update = debounced(async () => {
  let asked;
  let text;
  do {
    const url = pageAddress();
    asked = url.href;
    url.searchParams.set('have', identity());
    text = await fetchText(url);
    await released();
  } while (asked !== pageAddress().href);
  take(parsePage(text));
}, 60);

let openings = 0;

async function openStep(link, push) {
  const url = new URL(link, location.href);
  openings += 1;
  const mine = openings;
  const page = parsePage(await fetchText(url));
  if (mine !== openings) return; // another one was chosen meanwhile
  chosen = url.searchParams.has('step');
  if (push) history.pushState(null, '', url);
  const go = () => { take(page, true); showChosen(); };
  if (document.startViewTransition && !matchMedia('(prefers-reduced-motion: reduce)').matches) {
    await document.startViewTransition(go).updateCallbackDone;
  } else go();
}

document.addEventListener('click', (event) => {
  const link = event.target.closest('a[data-step]');
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const href = link.getAttribute('href');
  openStep(href, true).catch(() => location.assign(href));
});
addEventListener('popstate', () => openStep(location.href, false).then(toLine).catch(() => location.reload()));

// #step:line or #step:line-line opens the step and shows the lines.
async function toLine() {
  const hash = decodeURIComponent(location.hash.slice(1));
  const found = /^(.+):(\d+)(?:-(\d+))?$/.exec(hash);
  if (!found) return;
  const [slug, line, last] = [found[1], Number(found[2]), Number(found[3] ?? found[2])];
  if (!log || log.slug !== slug) {
    const url = new URL(location.href);
    url.searchParams.set('step', slug);
    url.searchParams.set('from', String(line));
    await openStep(url.href, false);
  }
  await log?.go(line, Math.max(line, last));
}
addEventListener('hashchange', toLine);
toLine();
logKeys(() => log);
lineKeys(() => log);

showChosen();

if (document.body.dataset.stream) {
  stream = new Stream(address, {
    run: update,
    lines: (event) => log?.add(event.data, Number(event.lastEventId.split(':')[1])),
    over: () => setTimeout(update, 50),
  });
  whenLeft(update);
}
