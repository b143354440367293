// The page of all runs: what the server tells goes into the store of `mountRuns`.

const store = emptyRuns();
let since = 0, before = "";
const details = (name) => asked(`details?run=${encodeURIComponent(name)}`).then((content) => { store.details.set(name, content); view.draw(); }).catch(() => store.details.delete(name));
store.ended = ENDED; store.reading = "reading the runs";
const view = mountRuns(root, store, (message) => { if (message.type === "details") details(message.run); }, (name) => `run?run=${encodeURIComponent(name)}`);
follow(async () => {
  const news = await asked(`news?since=${since}`), back = !store.alive;
  store.alive = true; store.gone = false;
  if (news.version === since && !back) return;
  since = news.version;
  takeRuns(store, news);
  document.title = `Runs in ${store.title}`;
  view.draw();
}, () => { if (store.alive) { store.alive = false; store.gone = true; view.draw(); } });
