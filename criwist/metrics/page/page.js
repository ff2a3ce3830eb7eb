// Keeps an open page up to date.  The server sends rows that have changed, as trees (see markup.py, document.py).
// Text becomes text nodes and values of attributes: nothing that is received is ever parsed as HTML.
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 32;
  // Seconds without a message after which the page says that it is not live; the server sends one each second.
  const SILENCE = 8;
  const TAGS = new Set(["article", "dd", "div", "dt", "h3", "p", "progress", "span", "table", "tbody", "td", "th", "tr"]);
  const ATTRIBUTES = new Set(["class", "colspan", "max", "title", "value"]);

  const live = document.getElementById("live");
  let received = 0;

  function build(node) {
    if (typeof node === "string") {
      return document.createTextNode(node);
    }
    if (!Array.isArray(node)) {
      return plot(node);
    }
    const [tag, attributes, ...children] = node;
    if (!TAGS.has(tag)) {
      throw new Error("unexpected element");
    }
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (ATTRIBUTES.has(name)) {
        element.setAttribute(name, value);
      }
    }
    element.append(...children.map(build));
    return element;
  }

  // The same paths as plots.py's.
  function paths(levels) {
    let line = "";
    let area = "";
    for (const run of levels.matchAll(/[^ ]+/g)) {
      const points = Array.from(run[0], (digit, index) => `${run.index + index} ${HEIGHT - 1 - parseInt(digit, 32)}`);
      if (points.length === 1) {
        points.push(`${run.index + 0.5} ${points[0].split(" ")[1]}`);
      }
      const end = points[points.length - 1].split(" ")[0];
      line += `M${points.join("L")}`;
      area += `M${run.index} ${HEIGHT}L${points.join("L")}L${end} ${HEIGHT}Z`;
    }
    return { line, area };
  }

  function plot({ levels, label, limited }) {
    const svg = document.createElementNS(SVG, "svg");
    const attributes = {
      class: limited ? "plot limited" : "plot",
      role: "img",
      "aria-label": label,
      viewBox: `0 0 ${levels.length - 1} ${HEIGHT}`,
      preserveAspectRatio: "none",
    };
    for (const [name, value] of Object.entries(attributes)) {
      svg.setAttribute(name, value);
    }
    const { line, area } = paths(levels);
    for (const [name, d] of [["area", area], ["line", line]]) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", name);
      path.setAttribute("d", d);
      svg.append(path);
    }
    return svg;
  }

  function apply(id, { rows = [], order }) {
    const list = document.getElementById(id);
    if (list === null) {
      return;
    }
    const known = new Map(Array.from(list.children, (element) => [element.dataset.key, element]));
    for (const [key, tree] of rows) {
      const element = build(tree);
      element.dataset.key = key;
      if (known.has(key)) {
        known.get(key).replaceWith(element);
      }
      known.set(key, element);
    }
    if (order) {
      list.replaceChildren(...order.filter((key) => known.has(key)).map((key) => known.get(key)));
    }
  }

  function show(state, text) {
    if (live.className !== state || live.textContent !== text) {
      live.className = state;
      live.textContent = text;
    }
    document.body.classList.toggle("stale", state !== "live");
  }

  function connect() {
    const updates = new EventSource("updates");
    updates.onmessage = (message) => {
      received = Date.now();
      for (const [id, change] of Object.entries(JSON.parse(message.data))) {
        apply(id, change);
      }
      show("live", "live");
    };
    updates.onerror = () => {
      show("broken", "not live: no connection");
      if (updates.readyState === EventSource.CLOSED) {
        setTimeout(connect, 10000);
      }
    };
  }

  setInterval(() => {
    if (received && Date.now() - received > SILENCE * 1000) {
      show("broken", "not live: no updates");
    }
  }, 2000);
  connect();
})();
