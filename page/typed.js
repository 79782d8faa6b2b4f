// What was typed on the Rerank tab outlives a reload of the page, which reloads by itself when the server was started
// anew. It stays in this tab of the browser, and goes with it.
workbench.typed = (() => {
  const STORED = 'rerank-workbench-typed ';
  const BOXES = ['query', 'passages'];
  let isRestored = false;

  addEventListener('pagehide', () => {
    if (!isRestored) return;
    for (const id of BOXES) {
      try { sessionStorage.setItem(STORED + id, document.querySelector(`#${id} textarea`).value); } catch { /* no room */ }
    }
  });

  // What the boxes show: what was typed into them before; what somebody has typed by then stays.
  return (...now) => {
    isRestored = true;
    if (now.some(Boolean)) return now;
    try { return BOXES.map((id) => sessionStorage.getItem(STORED + id) ?? ''); } catch { return now; }
  };
})();
