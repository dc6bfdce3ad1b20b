// The log viewer: pages that load when scrolled to, permalinks, find, follow, times and wrapping.

import { fetchText, parseLines, parsePage } from './html.js';
import { all, duration, find, onKey, save, saved, say } from './app.js';
import { localLines } from './zone.js';

const PAGE = 500;
const FLUSH = 120;
const UPWARDS = ['ArrowUp', 'PageUp', 'Home'];

export class Log {
  constructor(panel) {
    this.panel = panel;
    this.box = find('#log', panel);
    this.slug = panel.dataset.slug;
    this.attempt = panel.dataset.attempt;
    this.url = panel.dataset.url;
    this.lines = Number(panel.dataset.lines);
    this.waiting = [];
    this.timer = 0;
    this.follow = Boolean(panel.dataset.open);
    this.hits = [];
    this.hit = -1;
    this.count = 0;
    this.range = null;
    this.begun = Number(panel.dataset.begun);
    if (!this.box) return;
    localLines(all('li', this.box), this.begun);
    this.watch();
    this.tools();
    this.stickFollow();
    this.groups(this.box);
    const shown = all('.hit', this.box).map((line) => Number(line.dataset.n));
    if (shown.length) this.chosen(shown[0], shown.at(-1), false);
    if (!this.follow && !find('.later', this.box)) {
      for (const group of all('.group', this.box)) if (!this.inside(group).some((line) => line.matches('.hit'))) this.fold(group, true);
    }
  }

  // Groups of lines get a button; what is folded shows itself again when a link, an error or a match leads into it.
  groups(root) {
    for (const group of all('.group', root)) {
      if (find('.fold', group)) continue;
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'fold';
      button.setAttribute('aria-expanded', 'true');
      button.append(...[...group.childNodes].filter((node) => node.nodeName !== 'TIME'));
      if (!button.textContent.trim()) button.append('Group');
      group.append(button);
    }
    this.timeGroups();
  }

  // A group ends where the next one begins at the latest; how long it took is known once that line is there.
  timeGroups() {
    const marks = all('.group, .endgroup, .later', this.box);
    marks.forEach((mark, n) => {
      const next = marks[n + 1];
      if (!mark.matches('.group') || !next?.dataset.at) return;
      mark.dataset.took = duration(next.dataset.at - mark.dataset.at);
    });
  }

  inside(group) {
    const lines = [];
    const after = (line) => line.nextElementSibling ?? line.parentElement.nextElementSibling?.querySelector('li:not(.later li)');
    for (let line = after(group); line && !line.matches('.group, .endgroup'); line = after(line)) lines.push(line);
    return lines;
  }

  fold(group, folded) {
    find('.fold', group).setAttribute('aria-expanded', String(!folded));
    for (const line of this.inside(group)) line.classList.toggle('folded', folded);
  }

  unfold(line) {
    if (!line?.matches('.folded')) return;
    const group = all('.group', this.box).findLast((one) => one.compareDocumentPosition(line) & Node.DOCUMENT_POSITION_FOLLOWING);
    if (group) this.fold(group, false);
  }

  query(more) {
    return new URLSearchParams({ step: this.slug, attempt: this.attempt, ...more });
  }

  // Pages that are not there yet come when they are near, not before those that are there were shown.
  watch() {
    this.observer = new IntersectionObserver((seen) => {
      for (const one of seen) {
        if (one.isIntersecting && one.target.matches('.of-200')) this.split(one.target);
        else if (one.isIntersecting) this.load(one.target);
      }
    }, { rootMargin: '3000px' });
    const begin = () => all('.later', this.box).forEach((later) => this.observer.observe(later));
    requestAnimationFrame(() => requestAnimationFrame(begin));
  }

  // Places far away stand for many pages; near, or when one of these is wanted, for each of them.
  split(place) {
    const last = Number(place.dataset.to);
    const pages = [];
    for (let from = Number(place.dataset.from); from <= last; from += PAGE) {
      const list = place.cloneNode(true);
      const link = find('a', list);
      const address = new URL(link.href);
      list.className = 'chunk later of-10';
      [list.dataset.from, list.dataset.to] = [from, from + PAGE - 1];
      link.textContent = `Lines ${from} to ${from + PAGE - 1}`;
      address.searchParams.set('from', from);
      link.href = address.href;
      pages.push(list);
    }
    this.observer.unobserve(place);
    place.replaceWith(...pages);
    pages.forEach((list) => this.observer.observe(list));
  }

  load(list) {
    list.loading ??= fetchText(`${this.url}/log?${this.query({ from: list.dataset.from, to: list.dataset.to })}`).then((text) => {
      this.observer.unobserve(list);
      list.replaceChildren(...all('li', parsePage(text)));
      list.classList.remove('later');
      localLines(all('li', list), this.begun);
      this.groups(list);
      if (this.range) this.mark();
      this.paint();
    }).catch(() => { list.loading = undefined; });
    return list.loading;
  }

  async line(n) {
    const id = `${this.slug}:${n}`;
    if (!document.getElementById(id)) {
      const place = () => all('.later', this.box).find((one) => n >= Number(one.dataset.from) && n <= Number(one.dataset.to));
      if (place()?.matches('.of-200')) this.split(place());
      if (place()) await this.load(place());
    }
    this.unfold(document.getElementById(id));
    return document.getElementById(id);
  }

  async go(first, last = first) {
    const line = await this.line(first);
    if (!line) return;
    this.chosen(first, last, true);
    line.scrollIntoView({ block: 'center' });
    this.setFollow(false);
  }

  // Lines that a link leads to; those of pages that come later are marked when they come.
  chosen(first, last, picked) {
    this.range = [first, last];
    this.picked = picked;
    this.mark();
    const words = find('[data-copy-line] span', this.panel);
    if (words && picked) words.textContent = first === last ? `Copy link to line ${first}` : `Copy link to lines ${first}–${last}`;
  }

  mark() {
    all('.hit', this.box).forEach((one) => one.classList.remove('hit'));
    for (let n = this.range[0]; n <= Math.min(this.range[1], this.range[0] + 20000); n += 1) {
      document.getElementById(`${this.slug}:${n}`)?.classList.add('hit');
    }
  }

  // New lines are gathered and put in place together; they never animate.
  add(html, last) {
    this.waiting.push(html);
    this.lines = last;
    this.timer ||= setTimeout(() => this.flush(), document.visibilityState === 'visible' ? 16 : FLUSH);
  }

  flush() {
    this.timer = 0;
    const fresh = parseLines(this.waiting.splice(0).join(''));
    localLines(fresh, this.begun);
    find('.log-empty', this.box)?.remove();
    for (const line of fresh) {
      if (document.getElementById(line.id)) continue;
      let list = this.box.lastElementChild;
      if (!list || list.matches('.later') || list.childElementCount >= PAGE) {
        list = document.createElement('ol');
        this.box.append(list);
      }
      list.append(line);
    }
    this.groups(this.box);
    const size = find('[data-size]', this.panel);
    if (size) size.textContent = `${this.lines.toLocaleString('en')} line${this.lines === 1 ? '' : 's'}`;
    if (this.follow) this.end();
  }

  end() {
    const bottom = this.panel.getBoundingClientRect().bottom;
    if (bottom > innerHeight) { this.jumping = true; scrollBy({ top: bottom - innerHeight + 12, behavior: 'instant' }); }
  }

  stickFollow() {
    if (!this.follow) return;
    this.leave = new AbortController();
    const stop = () => this.setFollow(false);
    addEventListener('wheel', (event) => { if (event.deltaY < 0) stop(); }, { passive: true, signal: this.leave.signal });
    addEventListener('touchmove', stop, { passive: true, signal: this.leave.signal });
    addEventListener('keydown', (event) => { if (UPWARDS.includes(event.key)) stop(); }, { signal: this.leave.signal });
  }

  setFollow(on) {
    this.follow = on;
    find('[data-toggle="follow"]', this.panel)?.setAttribute('aria-pressed', String(on));
    if (on) this.end();
  }

  tools() {
    this.panel.addEventListener('click', (event) => {
      const button = event.target.closest('button, [data-first-error]');
      if (button?.dataset.toggle) this.toggle(button);
      else if (button?.dataset.find) this.step(Number(button.dataset.find));
      else if (button?.dataset.error) this.error(Number(button.dataset.error));
      else if (button?.matches('.fold')) this.fold(button.closest('li'), button.getAttribute('aria-expanded') === 'true');
      else if (button?.matches('[data-copy-line]')) this.copy();
      else if (event.target.matches('.log li')) this.pick(event);
    });
    for (const name of ['wrap', 'times']) {
      const button = find(`[data-toggle="${name}"]`, this.panel);
      if (button && saved(`log-${name}`)) this.toggle(button, saved(`log-${name}`) === 'on');
    }
    const field = find('.log-find input[type="search"]', this.panel);
    find('.log-find', this.panel)?.addEventListener('submit', (event) => event.preventDefault());
    if (field?.value) this.search(field.value);
    field?.addEventListener('input', () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.search(field.value), 120); });
    field?.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') { event.preventDefault(); this.step(event.shiftKey ? -1 : 1); }
      if (event.key === 'Escape') { field.value = ''; this.search(''); field.blur(); }
    });
  }

  toggle(button, on = button.getAttribute('aria-pressed') !== 'true') {
    button.setAttribute('aria-pressed', String(on));
    const name = button.dataset.toggle;
    if (name === 'wrap') this.box.classList.toggle('wrap', on);
    if (name === 'times') this.box.classList.toggle('no-times', !on);
    if (name === 'follow') this.setFollow(on);
    else save(`log-${name}`, on ? 'on' : 'off');
  }

  // The number in front of a line is its link; with Shift, of all lines from the last one picked.
  pick(event) {
    const line = event.target;
    if (event.clientX - line.getBoundingClientRect().left > 56) return;
    const n = Number(line.dataset.n);
    const from = event.shiftKey && this.picked ? this.range[0] : n;
    getSelection().empty();
    const [first, last] = [Math.min(from, n), Math.max(from, n)];
    this.chosen(first, last, true);
    this.setFollow(false);
    history.replaceState(history.state, '', this.link());
  }

  // A link means the same tomorrow: it names the step, and the attempt when there were several.
  link() {
    const url = new URL(location.href);
    for (const name of ['from', 'to', 'find']) url.searchParams.delete(name);
    if (!this.picked) return url;
    const [first, last] = this.range;
    url.searchParams.set('step', this.slug);
    if (Number(this.panel.dataset.tried) > 1) url.searchParams.set('attempt', this.attempt);
    url.hash = `${encodeURIComponent(this.slug)}:${first}${last > first ? `-${last}` : ''}`;
    return url;
  }

  // What is copied works without scripts, too: the server marks the lines.
  async copy() {
    this.settle?.(); // what is said of the line comes before what is said of its link
    const url = this.link();
    url.searchParams.set('step', this.slug);
    if (this.picked) {
      url.searchParams.set('from', String(this.range[0]));
      if (this.range[1] > this.range[0]) url.searchParams.set('to', String(this.range[1]));
    }
    await navigator.clipboard.writeText(url.href);
    say('Link copied');
  }

  // Errors are looked for by the server in the whole log, again when it has grown.
  async error(by) {
    if (this.erred?.at !== this.lines) {
      const found = await fetchText(`${this.url}/errors?${this.query()}`).catch(() => null);
      if (!found) return;
      this.erred = { at: this.lines, lines: JSON.parse(found).lines };
    }
    const { lines } = this.erred;
    if (!lines.length) { say('No error in this log'); return; }
    const here = this.range?.[0] ?? (by > 0 ? 0 : Infinity);
    let at = by > 0 ? lines.findIndex((n) => n > here) : lines.findLastIndex((n) => n < here);
    if (at < 0) at = by > 0 ? 0 : lines.length - 1;
    await this.go(lines[at]);
    const told = find('.log-errors output', this.panel);
    if (told) told.textContent = `${at + 1}/${lines.length}`;
    say(`Error ${at + 1} of ${lines.length}, line ${lines[at]}`);
  }

  async search(text) {
    this.text = text;
    this.hits = [];
    this.hit = -1;
    if (text.trim()) {
      const found = await fetchText(`${this.url}/find?${this.query({ q: text })}`).catch(() => '{"count":0,"lines":[]}');
      if (this.text !== text) return;
      ({ count: this.count, lines: this.hits } = JSON.parse(found));
    }
    if (this.hits.length) await this.step(1);
    else this.paint();
  }

  async step(by) {
    if (!this.hits.length) return;
    this.hit = (this.hit + by + this.hits.length) % this.hits.length;
    const line = await this.line(this.hits[this.hit]);
    this.setFollow(false);
    line?.scrollIntoView({ block: 'center' });
    this.paint();
  }

  // Matches are painted with highlights: the lines themselves stay as they are.
  paint() {
    const said = this.text?.trim() ? `${this.hits.length ? this.hit + 1 : 0}/${this.hits.length && this.count.toLocaleString('en')}` : '';
    const output = find('.log-find output', this.panel);
    if (output) output.textContent = said;
    if (!CSS.highlights) return;
    CSS.highlights.delete('found');
    CSS.highlights.delete('found-current');
    if (!this.text?.trim()) return;
    const ranges = this.hits.slice(0, 2000).flatMap((n) => this.ranges(n));
    CSS.highlights.set('found', new Highlight(...ranges));
    CSS.highlights.set('found-current', new Highlight(...this.ranges(this.hits[this.hit] ?? -1)));
  }

  ranges(n) {
    const line = document.getElementById(`${this.slug}:${n}`);
    if (!line) return [];
    const found = [];
    const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT, {
      acceptNode: (node) => (node.parentElement.matches('time') ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT),
    });
    const needle = this.text.toLowerCase();
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + needle.length);
        found.push(range);
      }
    }
    return found;
  }

  destroy() {
    this.observer?.disconnect();
    this.leave?.abort();
    clearTimeout(this.timer);
    clearTimeout(this.settling);
  }
}

export function logKeys(current) {
  onKey('f', () => find('.log-find input[type="search"]')?.focus());
  onKey('y', () => current()?.copy());
  onKey('n', () => current()?.error(1));
  onKey('p', () => current()?.error(-1));
}
