// The chosen tab is named in the address (#label, #label/mine), so that a reload comes back to it, Back and Forward move
// between tabs, and a link opens one.
(() => {
  const first = { tabs: 'rerank', 'judging-tabs': 'pair' };
  const tab = (row, id) => document.querySelector(`#${row} > .tab-wrapper [role="tab"][data-tab-id="${CSS.escape(id)}"]`);
  const chosen = (row) =>
    document.querySelector(`#${row} > .tab-wrapper [role="tab"][aria-selected="true"]`)?.dataset.tabId ?? first[row];
  let turn = 0;

  function address() {
    const ids = [chosen('tabs')];
    if (ids[0] === 'label' && chosen('judging-tabs') !== first['judging-tabs']) ids.push(chosen('judging-tabs'));
    return ids[0] === first.tabs ? '' : `#${ids.join('/')}`;
  }

  // A press by a person; what is opened from the address is there already.
  document.addEventListener('click', (event) => {
    if (!event.isTrusted || !event.target.closest?.('[role="tab"]')) return;
    turn += 1;
    setTimeout(() => {
      if (address() !== location.hash) history.pushState(null, '', address() || location.pathname + location.search);
    });
  });

  async function open() {
    const mine = ++turn;
    const [main, within] = location.hash.slice(1).split('/');
    const wanted = [['tabs', main || first.tabs]];
    if (main === 'label') wanted.push(['judging-tabs', within || first['judging-tabs']]);
    for (const [row, id] of wanted) {
      // Gradio draws its tabs late, and those within a tab when it is opened.
      for (let tries = 0; !tab(row, id) && tries < 300; tries += 1) await new Promise((done) => setTimeout(done, 100));
      if (mine !== turn) return;
      if (chosen(row) !== id) tab(row, id)?.click();
    }
  }

  addEventListener('hashchange', open);
  if (location.hash) open();
})();
