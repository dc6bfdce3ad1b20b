// A folder whose last commits were not known in time for its page: they are waited for, and put in their places.

import { fetchText, parsePage } from './html.js';

async function fill(tree, href) {
  const fresh = parsePage(await fetchText(href)).querySelector('#tree');
  if (!fresh) return;
  const chosen = tree.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null;
  tree.replaceWith(document.adoptNode(fresh));
  if (chosen !== null) [...fresh.querySelectorAll('a')].find((link) => link.getAttribute('href') === chosen)?.focus();
}

const later = document.querySelector('#tree [data-later]');
if (later) fill(document.querySelector('#tree'), later.dataset.later).catch((error) => console.info(error.message)); // its link stays
