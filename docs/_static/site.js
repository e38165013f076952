// The theme's buttons that open a chapter of the side bar show an arrow and have no name.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".bd-sidebar summary")) {
    if (!button.textContent.trim()) {
      const chapter = button.closest("li")?.querySelector("a")?.textContent.trim();
      button.setAttribute("aria-label", `Pages of ${chapter ?? "this chapter"}`);
    }
  }
  // The visible words ("Show code cell source") say more than this label, which replaces them.
  for (const fold of document.querySelectorAll(".cell summary[aria-label]")) {
    fold.removeAttribute("aria-label");
  }
  // An empty header cell is read as a column without a name.
  for (const head of document.querySelectorAll("article th")) {
    if (!head.textContent.trim()) {
      head.replaceWith(Object.assign(document.createElement("td"), {colSpan: head.colSpan}));
    }
  }
  // Browsers guess which headers are of a row, and guess wrong beside an empty cell.
  for (const head of document.querySelectorAll("article tbody th")) {
    head.scope = "row";
  }
});
// The theme lets the Tab key reach what scrolls sideways, without a name to be announced by.
addEventListener("load", () => setTimeout(() => {
  for (const box of document.querySelectorAll("article :is(div, pre)[tabindex='0']")) {
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", box.querySelector("table") ? "Wide table" : "Wide text");
  }
}));
