// A folder whose last commits were not known in time for its page: they are waited for, and put in their places.

import { fetchText, parsePage } from './html.js';
import { released } from './press.js';

async function fill(tree) {
  const fresh = parsePage(await fetchText(tree.dataset.later)).querySelector('#tree');
  if (!fresh) return;
  await released();
  fresh.querySelector('[data-no-script]')?.remove();
  const chosen = tree.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  tree.replaceWith(document.adoptNode(fresh));
  if (chosen !== null) [...fresh.querySelectorAll('a')].find((link) => link.getAttribute('href') === chosen)?.focus();
}

const tree = document.querySelector('#tree[data-later]');
if (tree) fill(tree).catch((error) => console.info(error.message)); // the page is whole without them
