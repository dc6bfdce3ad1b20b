// The one way in which text becomes HTML here: whole documents and log lines that this server rendered and escaped.

const policy = window.trustedTypes
  ? trustedTypes.createPolicy('stepwell', { createHTML: (text) => text })
  : { createHTML: (text) => text };

export function parsePage(text) {
  return new DOMParser().parseFromString(policy.createHTML(text), 'text/html');
}

export function parseLines(text) {
  return [...parsePage(`<ol>${text}</ol>`).querySelectorAll('li')];
}

export async function fetchText(url, options = {}) {
  const answer = await fetch(url, { credentials: 'same-origin', ...options });
  if (answer.redirected && new URL(answer.url).pathname === '/signin') location.assign(answer.url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return answer.text();
}
