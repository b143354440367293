// JupyterLab takes single keys for its own commands: arrows move to another cell, "b" makes one. Those that are pressed
// inside the dashboard belong to the dashboard; with Ctrl, Alt or Meta, Shift+Enter and Escape stay JupyterLab's.

const SUPPRESS = "data-lm-suppress-shortcuts";

function ownKeys(root) {
  const before = (event) => {
    const foreign = event.ctrlKey || event.altKey || event.metaKey || event.key === "Escape" || (event.shiftKey && event.key === "Enter");
    if (!root.contains(event.target)) return;
    // On the very element that has the focus: JupyterLab looks from there upwards and takes the first selector that fits.
    if (foreign) event.target.removeAttribute(SUPPRESS);
    else event.target.setAttribute(SUPPRESS, "true");
  };
  window.addEventListener("keydown", before, true);  // the window hears of a key before the document, where JupyterLab listens
  return () => window.removeEventListener("keydown", before, true);
}
