"use strict";
// Tables: a click on a heading sorts by it, numbers as numbers, what is missing last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent.trim();
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...table.tBodies[0].rows].map((row) => {
        const cell = row.cells[column];
        const text = (cell.dataset.value ?? cell.textContent).trim();
        return { row, text, number: text === "" ? NaN : Number(text), none: text === "" || text === "\u2013" };
      });
      keyed.sort((a, b) => {
        if (a.none !== b.none) return a.none ? 1 : -1;
        const both = !Number.isNaN(a.number) && !Number.isNaN(b.number);
        const order = both ? a.number - b.number : a.text.localeCompare(b.text, undefined, { numeric: true });
        return down ? -order : order;
      });
      table.tBodies[0].append(...keyed.map((entry) => entry.row));
    });
  });
}
// Images: a click opens one of them in full, with its layers and its size to choose.
const dialog = document.querySelector("dialog");
if (dialog) {
  const view = dialog.querySelector(".view");
  const title = dialog.querySelector("strong");
  const layers = dialog.querySelectorAll("input");
  let drawing = null;
  let fit = 1;
  let scale = 1;
  const resize = (wanted) => {
    const before = scale;
    scale = Math.min(Math.max(wanted, fit), Math.max(16, 4 * fit));
    const [x, y] = [view.scrollLeft + view.clientWidth / 2, view.scrollTop + view.clientHeight / 2];
    const box = drawing.viewBox.baseVal;
    drawing.setAttribute("width", box.width * scale);
    drawing.setAttribute("height", box.height * scale);
    view.scrollLeft = (x * scale) / before - view.clientWidth / 2;
    view.scrollTop = (y * scale) / before - view.clientHeight / 2;
  };
  const show = () => {
    for (const layer of layers) drawing.querySelector("." + layer.value).style.display = layer.checked ? "" : "none";
    const marked = [...layers].some((layer) => layer.value === "classes" && layer.checked);
    drawing.querySelector(".image").classList.toggle("dim", marked);
  };
  for (const button of document.querySelectorAll(".panels button")) {
    button.addEventListener("click", () => {
      const source = document.getElementById(button.dataset.full);
      drawing = source.content.firstElementChild.cloneNode(true);
      title.textContent = button.dataset.title;
      for (const layer of layers) layer.checked = button.dataset.layers.split(" ").includes(layer.value);
      view.replaceChildren(drawing);
      dialog.showModal();
      const box = drawing.viewBox.baseVal;
      fit = Math.min(view.clientWidth / box.width, view.clientHeight / box.height);
      scale = fit;
      resize(fit);
      show();
    });
  }
  layers.forEach((layer) => layer.addEventListener("change", show));
  dialog.querySelector("[value=in]").addEventListener("click", () => resize(scale * 1.5));
  dialog.querySelector("[value=out]").addEventListener("click", () => resize(scale / 1.5));
  dialog.querySelector("[value=close]").addEventListener("click", () => dialog.close());
}
