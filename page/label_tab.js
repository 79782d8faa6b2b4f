// Where the Label tab shows what gradio's events read, and not the page by itself: it is read anew when the tab comes up
// again, and when it is known anew who looks at it. How far the team has come is asked along with it.
const read = ['disputed', 'agreement', 'progress'];
const typed = (id) => document.querySelector(`#${id} :is(input, textarea)`)?.value;
const who = () => JSON.stringify([typed('annotator'), typed('api-token')]);
let known = who();

function bringUpToDate() {
  known = who();
  const tab = document.querySelector('#judging-tabs > .tab-wrapper [role="tab"][aria-selected="true"]')?.dataset.tabId;
  if (!read.includes(tab)) return;
  trigger(tab);
  // With a name, every answer tells it; without one it is asked for anyway.
  if (workbench.annotator()) workbench.say('pairs', {});
}

document.addEventListener('judge-named', () => { if (element.offsetParent && who() !== known) bringUpToDate(); });
workbench.whenShown(element, () => {
  workbench.team();
  bringUpToDate();
});
