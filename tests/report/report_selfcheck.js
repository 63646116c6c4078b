// The test puts this into the head of a report: once the page is there it uses everything that can be used, and leaves what
// it found in data-selfcheck of <html>.
"use strict";
(() => {
  const problems = [];
  addEventListener("error", event => problems.push(event.message));
  addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
  addEventListener("securitypolicyviolation", event => problems.push("blocked " + event.blockedURI));
  const all = selector => [...document.querySelectorAll(selector)];
  const visible = element => element.getClientRects().length > 0;
  const press = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  let used = 0;

  const usePickers = () => {
    for (const radio of all("input[type=radio]")) {
      radio.click();
      ++used;
      const of = radio.name === "axis" ? ".axis-" + radio.value : ".of-layer.row-" + radio.value;
      const views = all(of);
      if (!views.length) problems.push(radio.id + " shows nothing");
      for (const view of views) if (!visible(view)) problems.push(radio.id + "'s view is not visible");
      for (const other of all(radio.name === "axis" ? ".of-axis" : ".of-layer"))
        if (!views.includes(other) && visible(other)) problems.push("two views beside each other");
      for (const token of all(".t")) {
        const chip = document.querySelector(`.legend.row-${radio.value} [data-expert="${token.dataset.e}"] i`);
        if (radio.name === "layer" && chip && !token.classList.contains(chip.classList[1]))
          problems.push("a token has another colour than its expert");
      }
    }
  };
  const useCharts = () => {
    const tip = document.getElementById("tip");
    for (const svg of all("svg.chart, svg.map").filter(visible)) {
      press(svg, "ArrowRight");
      ++used;
      if (tip.hidden || !tip.textContent) problems.push("no readout for " + svg.getAttribute("aria-label"));
      const box = svg.getBoundingClientRect();
      svg.dispatchEvent(new PointerEvent("pointermove",
        { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true }));
      if (!svg.hasAttribute("aria-label")) problems.push("a picture without a description");
    }
    for (const text of all(".text")) {
      const first = text.firstElementChild, second = text.children[1];
      first.focus();
      press(first, "ArrowRight");
      ++used;
      if (tip.hidden) problems.push("no readout for text");
      if (second && document.activeElement !== second) problems.push("the arrow key does not move in text");
      if (text.querySelectorAll('[tabindex="0"]').length !== 1) problems.push("a text is not one stop of the tab key");
    }
  };
  const useButtons = () => {
    const chip = all(".chip[data-expert]").find(visible);
    if (chip) {
      chip.click();
      const picked = all(".t.picked").length, expected = all(`.t[data-e="${chip.dataset.expert}"]`).length;
      if (picked !== expected || chip.getAttribute("aria-pressed") !== "true") problems.push("a chip picks other tokens");
      chip.click();
    }
    for (const element of all("button, input[type=checkbox], summary").filter(visible)) {
      element.click();
      ++used;
    }
  };
  const checkPage = () => {
    const ids = all("[id]").map(element => element.id);
    if (ids.length !== new Set(ids).size) problems.push("an id stands twice");
    for (const label of all("label[for]"))
      if (!document.getElementById(label.htmlFor)) problems.push("a label for nothing");
    for (const link of all("nav a"))
      if (!document.querySelector(link.getAttribute("href"))) problems.push("a link to nothing");
    const width = document.documentElement.scrollWidth;
    if (width > innerWidth + 1) problems.push(`wider than the window: ${width} of ${innerWidth}`);
    if (window.hacked) problems.push("text of the run ran as a script");
  };
  addEventListener("load", () => setTimeout(() => {
    try {
      checkPage();
      usePickers();
      useCharts();
      useButtons();
      checkPage();
    } catch (error) {
      problems.push(error.stack);
    }
    document.documentElement.dataset.selfcheck = problems.length ? "failed: " + problems.join("; ") : "ok, used " + used;
  }, 0));
})();
