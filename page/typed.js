// What was typed outlives a reload of the page, which reloads by itself when the server was started anew: the query and
// the passages, and the guidelines that somebody is editing. It stays in this tab of the browser, and goes with it.
(() => {
  const STORED = 'rerank-workbench-typed ';
  // What is in these boxes is the newest there is; what was stored for others still waits to be asked for.
  const inUse = new Set();

  addEventListener('pagehide', () => {
    for (const id of inUse) {
      const text = document.querySelector(`#${id} textarea`)?.value;
      try {
        if (text === undefined) sessionStorage.removeItem(STORED + id);
        else sessionStorage.setItem(STORED + id, text);
      } catch { /* no room */ }
    }
  });

  function takeStored(id) {
    inUse.add(id);
    try {
      const text = sessionStorage.getItem(STORED + id);
      sessionStorage.removeItem(STORED + id);
      return text;
    } catch { return null; }
  }

  // What the boxes of the Rerank tab show: what was typed into them before; what somebody has typed by then stays.
  workbench.typed = (...now) => {
    const stored = ['query', 'passages'].map((id) => takeStored(id) ?? '');
    return now.some(Boolean) ? now : stored;
  };

  // What the box of the guidelines shows when it opens: what was not saved before the page went, or else what is saved.
  workbench.guidelines = (saved) => takeStored('guidelines-box') ?? saved;
})();
