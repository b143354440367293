// The page of one run, watched: what the server tells goes into the store of `mount`.

const store = emptyStore(), name = new URLSearchParams(location.search).get("run") || "";
let epoch = 0;
document.getElementById("back").hidden = !name;
document.getElementById("name").textContent = name;
const view = mount(root, store, { still: true, watched: true });
follow(async () => {
  const news = await asked(`frame?run=${encodeURIComponent(name)}&epoch=${epoch}&after=${newestOf(store)}`);
  if (news.reset && epoch && news.epoch !== epoch) store.rows = [];
  epoch = news.epoch;
  take(store, news);
  document.title = `${name || store.head.name} - evolab`;
  view.draw();
  if (news.past) unpack(store, news.past).then(() => view.draw(true));
}, (error) => { if (store.head.alive) { store.head = { ...store.head, alive: false, gone: true, ended: ENDED }; view.draw(); } else if (!epoch) root.textContent = error.message; });
