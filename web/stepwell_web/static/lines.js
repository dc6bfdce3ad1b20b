// The log by keyboard: j and k move from line to line, each a link in the address; Enter copies it, as y does.

import { find, move, onKey, saved, say } from './app.js';

const SETTLED = 150; // milliseconds: browsers take a new address only so often while a key is held

class Walk {
  constructor(current) {
    this.current = current;
    this.busy = false;
  }

  // The step list keeps j and k while the focus is in it; so does a page without a log.
  async by(step) {
    const log = this.current();
    if (!log?.box || !log.lines || document.activeElement.closest('.steps')) { move(step); return; }
    if (this.busy) return;
    this.busy = true;
    try { await this.to(log, step); } finally { this.busy = false; }
  }

  async to(log, step) {
    let n = this.from(log, step);
    let line = await this.line(log, n);
    while (line && !line.checkVisibility()) {
      n += step;
      line = await this.line(log, n);
    }
    if (!line) return;
    log.chosen(n, n, true);
    log.setFollow(false);
    line.scrollIntoView({ block: 'nearest' });
    clearTimeout(log.settling);
    log.settle = () => {
      clearTimeout(log.settling);
      log.settle = null;
      history.replaceState(history.state, '', log.link());
      say(`Line ${n}`);
    };
    log.settling = setTimeout(log.settle, SETTLED);
  }

  // Without a chosen line it begins with the first that is in view.
  from(log, step) {
    if (log.range) return step > 0 ? log.range[1] + 1 : log.range[0] - 1;
    const head = find('.log-head', log.panel)?.getBoundingClientRect().bottom ?? 0;
    const seen = [...log.box.querySelectorAll('li[data-n]')].find((line) => line.getBoundingClientRect().top >= Math.max(head, 0) && line.checkVisibility());
    return Number(seen?.dataset.n ?? 1);
  }

  // Folded lines stay folded: only a page that has not come is asked for.
  async line(log, n) {
    if (n < 1 || n > log.lines) return null;
    return document.getElementById(`${log.slug}:${n}`) ?? log.line(n);
  }
}

export function lineKeys(current) {
  const walk = new Walk(current);
  onKey('j', () => walk.by(1));
  onKey('k', () => walk.by(-1));
  onKey('J', () => move(1));
  onKey('K', () => move(-1));
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.target !== document.body || event.ctrlKey || event.metaKey || event.altKey) return;
    const log = current();
    if (log?.picked && saved('keys') !== 'off' && !find('dialog[open]')) log.copy();
  });
}
