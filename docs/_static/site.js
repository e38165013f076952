// The theme's buttons that open a chapter of the side bar show an arrow and have no name.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".bd-sidebar summary")) {
    if (!button.textContent.trim()) {
      const chapter = button.closest("li")?.querySelector("a")?.textContent.trim();
      button.setAttribute("aria-label", `Pages of ${chapter ?? "this chapter"}`);
    }
  }
});
