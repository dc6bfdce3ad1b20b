// Decisions in lists: the row says what was decided and stays, so that no other run's button comes under the pointer.

import { parsePage } from './html.js';
import { merge } from './live.js';
import { released } from './press.js';

function rowOf(form) {
  const asked = `${form.getAttribute('action')} ${form.elements.key?.value}`;
  return document.querySelector(`[data-gate="${CSS.escape(asked)}"]`);
}

function decided(gate, word) {
  const name = gate.querySelector('h2').firstChild.textContent.trim();
  const row = document.createElement('div');
  const text = document.createElement('p');
  const link = gate.querySelector('.gate-text a'); // to the run
  row.className = 'notice decided';
  row.dataset.kept = 'yes';
  Object.assign(row.style, { minHeight: `${gate.offsetHeight}px`, marginBottom: 0 }); // as high as the gate was
  text.append(`${word}: ${name} · `, link);
  row.append(text);
  gate.replaceWith(row);
  link.focus({ preventScroll: true });
  document.querySelector('#status').textContent = text.textContent;
}

async function decide(form, button) {
  const word = button.value === 'approve' ? 'Approved' : 'Rejected';
  const body = new URLSearchParams(new FormData(form, button));
  rowOf(form).dataset.kept = 'yes'; // news of this very decision may come before its answer
  const answer = await fetch(form.getAttribute('action'), { method: 'POST', body, credentials: 'same-origin' }).catch(() => null);
  await released();
  const gate = rowOf(form);
  if (!answer?.ok || !gate || new URL(answer.url).pathname === '/signin') {
    // Sent as without scripts: whatever is wrong, a page of its own says it.
    form.append(Object.assign(document.createElement('input'), { type: 'hidden', name: button.name, value: button.value }));
    HTMLFormElement.prototype.submit.call(form);
    return;
  }
  form.closest('dialog')?.close();
  decided(gate, word);
  const shown = new URL(answer.url).pathname === location.pathname;
  if (shown) merge(parsePage(await answer.text()));
}

document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.dataset.sent || event.submitter?.name !== 'decision' || !rowOf(form)) return;
  event.preventDefault();
  decide(form, event.submitter);
});
