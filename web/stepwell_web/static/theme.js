// Runs before the first paint: the chosen theme, and a mark that scripts work.
(() => {
  const root = document.documentElement;
  root.dataset.script = 'on';
  try {
    const theme = localStorage.getItem('theme');
    if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
  } catch { /* storage is switched off: the system's theme stays */ }
})();
