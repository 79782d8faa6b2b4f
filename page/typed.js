// What was typed outlives a reload of the page, which reloads by itself when the server was started anew: the query and
// the passages, the guidelines that somebody is editing, notes that are not stored yet, the settings of a training, what
// is searched for and which pair comes next. It stays in this tab of the browser, and goes with it.
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

  // Gradio leaves a box as it is that is given nothing. Given what it had, it would lose what was typed meanwhile.
  const nothing = (count) => Array(count).fill(undefined);

  // What the boxes of the Rerank tab show: what was typed into them before; what somebody has typed by then stays.
  workbench.typed = (...now) => {
    const stored = ['query', 'passages'].map((id) => takeStored(id) || undefined);
    return now.some(Boolean) ? nothing(now.length) : stored;
  };

  // What the box of the guidelines shows when it opens, and when those were written that it began as: what was not saved
  // before the page went, or else what is saved. Others may have saved theirs between the two.
  // Whoever opens it goes on to type: the keys that judge would be taken at their word.
  workbench.guidelines = (saved, moment) => {
    setTimeout(() => document.querySelector('#guidelines-box textarea')?.focus()); // once gradio has drawn it
    const typed = takeStored('guidelines-box');
    const [before] = typed === null ? [moment] : kept('guidelines', 1);
    workbench.keep('guidelines', before ?? moment);
    return [typed ?? saved, before ?? moment];
  };

  // What is chosen in a form is stored at once: where its tab is not open, no box is there to be read when the page goes.
  workbench.keep = (form, ...chosen) => {
    try { sessionStorage.setItem(STORED + form, JSON.stringify(chosen)); } catch { /* no room */ }
  };

  // What was chosen before in a form of so many fields; nothing for each where that was in another one.
  function kept(form, count) {
    try {
      const stored = JSON.parse(sessionStorage.getItem(STORED + form));
      return stored?.length === count ? stored : nothing(count);
    } catch { return nothing(count); }
  }
  workbench.kept = kept;

  // What is typed and not stored yet, each under a key of its own.
  workbench.drafts = (form) => {
    const drafts = new Map(kept(form, 1)[0]);
    const save = () => workbench.keep(form, [...drafts]);
    return {
      get: (key) => drafts.get(key),
      // What is the same as what is `stored` is no draft.
      put(key, text, stored = '') {
        if (text === stored) drafts.delete(key);
        else drafts.set(key, text);
        save();
      },
      // This was stored; what has been typed over it since has not.
      drop(key, text) {
        if (drafts.get(key)?.trim() === (text ?? '').trim() && drafts.delete(key)) save();
      },
    };
  };

  // One note of each annotator on each pair, wherever it is shown.
  const notes = workbench.drafts('notes');
  const under = (act) => (who, pair, ...rest) => act([who, ...pair].join(' '), ...rest);
  workbench.notes = { get: under(notes.get), put: under(notes.put), drop: under(notes.drop) };

  // What the fields at these places of a form are to count as. A tab may be opened before what was kept is back in them:
  // then it is that, and not what they `show`.
  const back = new Set();
  workbench.isBack = (form) => { back.add(form); };
  workbench.fields = (form, count, places, ...show) => {
    if (back.has(form)) return show;
    const stored = kept(form, count);
    return places.map((place, at) => stored[place] ?? show[at]);
  };
})();
