// What a widget's page and its kernel know of each other, beside what they say.

// anywidget gives a model up whose module is there later than two seconds after the model, as on a busy machine: each of
// its messages then waits for ever. The model itself waits for nothing, and by now the module is there. Only the manager
// has the model itself, and its name is the widget's.
async function hearAlways(model) {
  const manager = model.widget_manager;
  if (!manager || !manager.get_model) return;
  const whole = await manager.get_model(model.get("twin").replace("evolab-", "")), comm = whole.comm;
  const waiting = Object.getPrototypeOf(whole), plain = Object.getPrototypeOf(waiting);
  if (comm && comm.on_msg && Object.hasOwn(waiting, "_handle_comm_msg")) comm.on_msg(plain._handle_comm_msg.bind(whole));
}

// JupyterLab's own record of the kernel; other pages have none, and there a message that cannot be sent tells.
function onKernelEnd(model, act) {
  const kernel = model.widget_manager && model.widget_manager.kernel;
  if (!kernel || !kernel.statusChanged) return () => {};
  const changed = (_, status) => { if (["dead", "restarting", "autorestarting", "terminating"].includes(status)) act(); };
  kernel.statusChanged.connect(changed);
  kernel.disposed.connect(act);
  return () => { kernel.statusChanged.disconnect(changed); kernel.disposed.disconnect(act); };
}
