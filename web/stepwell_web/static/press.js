// What is replaced between the press of a button and its release is never clicked: who replaces parts of a page waits.

const LONGEST = 5000; // milliseconds: of a press whose end this page is not told of

let press = null;

addEventListener('pointerdown', () => {
  if (press) return;
  const mine = {};
  mine.over = new Promise((done) => {
    mine.end = () => { if (press === mine) press = null; done(); };
  });
  setTimeout(mine.end, LONGEST);
  press = mine;
}, true);

for (const name of ['pointerup', 'pointercancel']) {
  addEventListener(name, () => setTimeout(() => press?.end()), true); // its click comes first
}

export async function released() {
  while (press) await press.over;
}
