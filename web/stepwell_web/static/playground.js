// The playground: colours the program while it is written, keeps the line of an error in sight, lists its steps.

import { fetchText, parsePage } from './html.js';
import { all, find } from './app.js';
import { patch } from './live.js';
import { released } from './press.js';

const PAUSE = 600;
const field = find('#code');
const editors = [...all('.editor')].map((box) => ({
  file: box.dataset.file,
  field: find('textarea', box),
  paint: find('.editor-paint', box),
  numbers: find('.editor-numbers', box),
}));

const WORDS = 'and as assert async await break class continue def del elif else except finally for from global if import '
  + 'in is lambda nonlocal not or pass raise return try while with yield match case True False None';
const TOKENS = new RegExp([
  /(?<s>(?:[rbfuRBFU]{0,2})(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))/,
  /(?<c>#.*)/,
  new RegExp(`\\b(?<k>${WORDS.split(' ').join('|')})\\b`),
  /\b(?<n>\d[\w.]*)/,
  /(?<f>(?<=\b(?:def|class)\s)\w+)/,
  /[A-Za-z_]\w*/,
].map((part) => part.source).join('|'), 'g');

function coloured(text) {
  const parts = [];
  let place = 0;
  for (const match of text.matchAll(TOKENS)) {
    const kind = Object.entries(match.groups).find(([, found]) => found !== undefined)?.[0];
    if (!kind) continue;
    parts.push(text.slice(place, match.index));
    const span = document.createElement('span');
    span.className = `py-${kind}`;
    span.textContent = match[0];
    parts.push(span);
    place = match.index + match[0].length;
  }
  parts.push(`${text.slice(place)}\n`);
  return parts;
}

function draw({ file, field: text, paint, numbers }) {
  paint.replaceChildren(...coloured(text.value));
  const told = find('#outline').dataset;
  const wrong = told.file === file ? Number(told.line || 0) : 0;
  const lines = text.value.split('\n').length;
  numbers.replaceChildren(...Array.from({ length: lines }, (_, n) => {
    if (n + 1 !== wrong) return `${n + 1}\n`;
    const mark = document.createElement('span');
    mark.className = 'wrong';
    mark.textContent = String(n + 1);
    return mark;
  }));
}

// What was written belongs to this visit of the page: the way back to it, and a reload, find it again.
function keep() {
  history.replaceState({ draft: Object.fromEntries(new FormData(field.form)) }, '');
}

function takeUp(draft) {
  for (const [name, value] of Object.entries(draft)) {
    const part = field.form.elements[name];
    if (part) part.value = value;
  }
}

let timer = null;
let asked = 0;

async function look() {
  keep();
  asked += 1;
  const mine = asked;
  const body = new URLSearchParams(new FormData(field.form));
  let text;
  try {
    text = await fetchText('/playground/check', { method: 'POST', body });
  } catch {
    return; // the next change asks again; Run tells what is wrong in any case
  }
  await released();
  if (mine !== asked) return;
  patch(find('#outline'), find('#outline', parsePage(text)));
  editors.forEach(draw);
}

function goTo(file, line) {
  const { field: text } = editors.find((one) => one.file === file) ?? editors[0];
  const lines = text.value.split('\n');
  const start = lines.slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
  const folded = text.closest('details');
  if (folded) folded.open = true;
  text.focus();
  text.setSelectionRange(start, start + (lines[line - 1] ?? '').length);
}

// Enter keeps the indentation. Tab moves on as everywhere, so that the keyboard is not caught.
function indent(event) {
  const text = event.target;
  if (event.key === 'Enter' && (event.metaKey || event.ctrlKey)) {
    event.preventDefault();
    field.form.requestSubmit(find('[name="do"][value="run"]'));
    return;
  }
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  const before = text.value.slice(0, text.selectionStart);
  const line = before.slice(before.lastIndexOf('\n') + 1);
  const deeper = /:\s*$/.test(line) ? '    ' : '';
  const space = /^\s*/.exec(line)[0] + deeper;
  if (!space) return;
  event.preventDefault();
  text.setRangeText(`\n${space}`, text.selectionStart, text.selectionEnd, 'end');
  text.dispatchEvent(new Event('input', { bubbles: true }));
}

if (field) {
  if (history.state?.draft) takeUp(history.state.draft);
  field.form.addEventListener('submit', keep);
  for (const editor of editors) {
    editor.field.addEventListener('input', () => {
      draw(editor);
      clearTimeout(timer);
      timer = setTimeout(look, PAUSE);
    });
    editor.field.addEventListener('keydown', indent);
    draw(editor);
  }
  document.addEventListener('click', (event) => {
    const told = event.target.closest('#outline button')?.dataset;
    if (told?.line) goTo(told.file, Number(told.line));
  });
  if (!find('#outline .notice')) look();
}
