// Times of day in the reader's own zone. What the server wrote is UTC and says so, as it stays without scripts.

const LOCALE = 'en-GB';
const forms = new Map();

function written(at, options) {
  const name = JSON.stringify(options);
  if (!forms.has(name)) forms.set(name, new Intl.DateTimeFormat(LOCALE, options));
  return forms.get(name).format(at);
}

const clock = (at) => written(at, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const minute = (at) => written(at, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const day = (at) => written(at, { day: 'numeric', month: 'short' });
const date = (at, month) => written(at, { day: 'numeric', month, year: 'numeric' });

export function zoneAt(at) {
  const parts = new Intl.DateTimeFormat(LOCALE, { timeZoneName: 'short' }).formatToParts(at);
  return parts.find((part) => part.type === 'timeZoneName').value;
}

const WORDS = {
  clock,
  day: (at) => `${day(at)}, ${clock(at)}`,
  until: (at) => `${clock(at)} ${zoneAt(at)}`,
  date: (at) => `${date(at, 'short')}, ${minute(at)} ${zoneAt(at)}`,
};

// In a list the day stands where it is another one than in the row above, which may be another row than in UTC.
export function localTimes(root = document) {
  let last = '';
  for (const part of root.querySelectorAll('time[data-form]')) {
    const at = new Date(part.dateTime);
    const listed = part.dataset.form === 'listed';
    part.textContent = WORDS[listed ? (last === day(at) ? 'clock' : 'day') : part.dataset.form](at);
    if (listed) last = day(at);
  }
  for (const part of root.querySelectorAll('[data-zone]')) {
    part.textContent = zoneAt(new Date(Number(part.dataset.zone) * 1000));
  }
}

// A log tells all of its times in the zone of its beginning: lines that went back an hour would mislead.
export function localLines(lines, begun) {
  const shift = -60 * new Date(begun * 1000).getTimezoneOffset();
  if (!shift) return;
  let [before, after] = ['', ''];
  for (const line of lines) {
    const time = line.querySelector('time');
    if (!time || time.dataset.local) continue;
    if (time.textContent !== before) {
      before = time.textContent;
      const [hours, minutes, seconds] = before.split(':').map(Number);
      const at = new Date((hours * 3600 + minutes * 60 + seconds + shift) * 1000);
      after = at.toISOString().slice(11, 19);
    }
    time.textContent = after;
    time.dataset.local = '';
  }
}

// A tooltip is read rarely, so it is written when somebody is about to.
document.addEventListener('pointerover', (event) => {
  const time = event.target.closest?.('time[datetime]');
  if (time) {
    const at = new Date(time.dateTime);
    time.title = `${date(at, 'long')}, ${clock(at)} ${zoneAt(at)}`;
  }
});
