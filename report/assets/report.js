// What the report does beyond standing there: the page is whole without it.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, text) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const numbers = text => text.split(" ").map(Number);
  const root = document.documentElement;

  // --- light, dark, or as the system -------------------------------------------------------------
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const setTheme = name => {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    button.setAttribute("aria-label", "Colours: " + (name === "system" ? "as the system" : name));
    button.textContent = { system: "◐", light: "☀", dark: "☾" }[name];
    button.value = name;
    try { localStorage.setItem("moe-report-theme", name); } catch { /* a file may have no storage */ }
  };
  button.addEventListener("click", () => setTheme(themes[(themes.indexOf(button.value) + 1) % 3]));
  let stored = null;
  try { stored = localStorage.getItem("moe-report-theme"); } catch { /* as above */ }
  const asked = location.hash.slice(1);
  setTheme(themes.includes(asked) ? asked : (themes.includes(stored) ? stored : "system"));

  // --- the readout ---------------------------------------------------------------------------------
  const tip = document.getElementById("tip");
  const hideTip = () => { tip.hidden = true; };
  const showTip = (nodes, x, y) => {
    tip.replaceChildren(...nodes);
    tip.hidden = false;
    const width = tip.offsetWidth, height = tip.offsetHeight;
    tip.style.left = Math.max(6, Math.min(x + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (y + height + 26 > innerHeight ? Math.max(6, y - height - 14) : y + 18) + "px";
  };
  addEventListener("scroll", hideTip, { passive: true });
  addEventListener("keydown", event => { if (event.key === "Escape") hideTip(); });

  const clock = seconds => {
    const s = Math.round(seconds), two = n => String(n).padStart(2, "0");
    return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
      : `${Math.floor(s / 60)}:${two(s % 60)}`;
  };
  const place = (svg, x, y) => {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    return [box.left + x / view.width * box.width, box.top + y / view.height * box.height];
  };
  const pointerIn = (svg, event) => {
    const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    return [(event.clientX - box.left) / box.width * view.width,
            (event.clientY - box.top) / box.height * view.height];
  };
  const nearest = (sorted, x) => {
    let low = 0, high = sorted.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < x) low = middle; else high = middle;
    }
    return x - sorted[low] < sorted[high] - x ? low : high;
  };

  for (const svg of all("svg.chart, svg.map"))
    svg.setAttribute("aria-label", svg.getAttribute("aria-label") + " Arrow keys read the values.");

  // --- line charts: the values of all lines at one place ------------------------------------------
  for (const svg of all("svg.chart")) {
    let lines = null, at = -1, cross = null;
    const [left, top, right, bottom] = numbers(svg.dataset.plot);
    const [xLow, xHigh] = numbers(svg.dataset.range), isLog = "logX" in svg.dataset;
    const shareOf = x => isLog ? Math.log(x / xLow) / Math.log(xHigh / xLow) : (x - xLow) / (xHigh - xLow);
    const valueAt = share => isLog ? xLow * Math.pow(xHigh / xLow, share) : xLow + share * (xHigh - xLow);
    const xs = [];
    const read = () => {
      lines = all("path.line", svg).map(path => {
        const points = path.dataset.v.split(" ").map(pair => pair.split(":").map(Number));
        return { name: path.dataset.name, path, xs: points.map(p => p[0]), ys: points.map(p => p[1]) };
      });
      xs.push(...new Set(lines.flatMap(line => line.xs)));
      xs.sort((a, b) => a - b);
      cross = document.createElementNS("http://www.w3.org/2000/svg", "path");
      cross.setAttribute("class", "cross");
      svg.append(cross);
    };
    const show = index => {
      at = Math.max(0, Math.min(xs.length - 1, index));
      const value = xs[at], x = left + shareOf(value) * (right - left);
      cross.setAttribute("d", `M${x} ${top}V${bottom}`);
      cross.style.display = "";
      const axis = svg.dataset.axis, table = make("table");
      const named = where => axis === "time" ? clock(where)
        : isLog && where < 100 ? String(Number(where.toPrecision(3))) : Math.round(where).toLocaleString("en");
      const shown = lines.filter(line => value >= line.xs[0] && value <= line.xs[line.xs.length - 1]);
      const picked = lines.length > 8 ? shown.filter(l => getComputedStyle(l.path).opacity === "1"
        && getComputedStyle(l.path).strokeWidth === "2.2px") : shown;
      for (const line of picked.slice(0, 10)) {
        const row = table.insertRow();
        row.insertCell().textContent = line.name;
        const point = nearest(line.xs, value), y = line.ys[point];
        const cell = row.insertCell();
        cell.append(make("b", Math.abs(y) >= 1e4 ? Math.round(y).toLocaleString("en")
          : String(Number(y.toPrecision(5)))));
        if (line.xs[point] !== value) row.insertCell().textContent = "at " + named(line.xs[point]);
      }
      const unit = axis === "time" ? "" : axis + " ";
      showTip([make("b", isLog ? `${named(value)} ${axis}` : unit + named(value)), table], ...place(svg, x, top + 20));
    };
    const hide = () => { if (cross) cross.style.display = "none"; hideTip(); };
    svg.addEventListener("pointermove", event => {
      if (!lines) read();
      const [x] = pointerIn(svg, event);
      show(nearest(xs, valueAt((x - left) / (right - left))));
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -1e9, End: 1e9 }[event.key];
      if (step === undefined) return;
      if (!lines) { read(); at = step > 0 ? -1 : xs.length; }
      event.preventDefault();
      show(at + step);
    });
  }

  // --- load maps: the load of one expert over some steps ------------------------------------------
  for (const svg of all("svg.map")) {
    let rows = null, row = 0, column = -1;
    const [left, top, width, height] = numbers(svg.dataset.plot), steps = numbers(svg.dataset.steps);
    const show = (r, c) => {
      rows = rows || svg.dataset.ratio.split(";").map(text => text.split(" "));
      row = Math.max(0, Math.min(rows.length - 1, r));
      column = Math.max(0, Math.min(steps.length - 1, c));
      const from = column > 0 ? steps[column - 1] + 1 : 1, ratio = rows[row][column];
      const span = from < steps[column] ? `steps ${from} to ${steps[column]}` : `step ${steps[column]}`;
      const load = make("div", ratio === "" ? "not logged" : (ratio / 100).toFixed(2) + "× the even share");
      showTip([make("b", `expert ${row}, ${span}`), load],
        ...place(svg, left + (column + .5) / steps.length * width, top + (row + .5) / rows.length * height));
    };
    svg.addEventListener("pointermove", event => {
      const [x, y] = pointerIn(svg, event);
      if (x < left || x > left + width || y < top || y > top + height) return hideTip();
      const count = svg.dataset.ratio.split(";").length;
      show(Math.floor((y - top) / height * count), Math.floor((x - left) / width * steps.length));
    });
    svg.addEventListener("pointerleave", hideTip);
    svg.addEventListener("blur", hideTip);
    svg.addEventListener("keydown", event => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!move) return;
      event.preventDefault();
      show(row + move[0], column + move[1]);
    });
  }

  // --- text in the colours of its experts ---------------------------------------------------------
  const source = document.getElementById("choices");
  if (source) {
    const { layers, passages } = JSON.parse(source.textContent);
    const texts = all(".text").map(element => ({ element, tokens: [...element.children],
      choices: passages[Number(element.dataset.passage)] }));
    const picked = () => Number(document.querySelector("input[name=layer]:checked").value);
    const classOf = expert => {
      const slot = layers[picked()].places[expert];
      return expert === undefined ? "x-none" : slot < 0 ? "x-rest" : "x" + slot;
    };
    let isolated = null;
    const isolate = expert => {
      isolated = expert;
      for (const chip of all(".chip[data-expert]"))
        chip.setAttribute("aria-pressed", String(expert !== null && Number(chip.dataset.expert) === expert));
      for (const { element, tokens } of texts) {
        element.classList.toggle("isolated", expert !== null);
        for (const token of tokens) token.classList.toggle("picked", token.dataset.e === String(expert));
      }
    };
    const paint = () => {
      const layer = picked();
      for (const { tokens, choices } of texts)
        tokens.forEach((token, t) => {
          const expert = choices[layer][t][0];
          token.className = `t${token.textContent ? "" : " sliver"} x ${classOf(expert)}`;
          token.dataset.e = expert === undefined ? "–" : String(expert);
        });
      isolate(null);
    };
    for (const radio of all("input[name=layer]")) radio.addEventListener("change", paint);
    for (const chip of all(".chip[data-expert]"))
      chip.addEventListener("click", () => {
        const expert = Number(chip.dataset.expert);
        isolate(isolated === expert ? null : expert);
      });

    const describe = (text, t) => {
      // A character of several tokens stands with its first one.
      let first = t;
      while (first > 0 && !text.tokens[first].textContent) --first;
      const shown = text.tokens[first].textContent.replace(/ /g, "␣");
      const head = make("b", `“${shown}”` + (first < t ? `, its ${t - first + 1}. token` : ""));
      const choices = text.choices[picked()][t];
      if (!choices.length) return [head, make("div", "no expert took it")];
      const table = make("table");
      for (let i = 0; i < choices.length; i += 2) {
        const row = table.insertRow(), cell = row.insertCell(), swatch = make("i");
        swatch.className = classOf(choices[i]);
        cell.append(swatch, `expert ${choices[i]}`);
        row.insertCell().textContent = choices[i + 1] === null ? "" : (choices[i + 1] / 1000).toFixed(3);
      }
      return [head, table];
    };
    for (const text of texts) {
      const show = token => {
        const t = text.tokens.indexOf(token), box = token.getBoundingClientRect(), nodes = describe(text, t);
        token.setAttribute("aria-label", nodes.map(node => node.textContent).join(" "));
        showTip(nodes, box.left, box.bottom - 10);
      };
      const move = (event, t) => {
        const token = text.tokens[Math.max(0, Math.min(text.tokens.length - 1, t))];
        event.preventDefault();
        for (const other of text.tokens) if (other.tabIndex === 0) other.tabIndex = -1;
        token.tabIndex = 0;
        token.focus();
      };
      text.element.addEventListener("pointerover", event => {
        if (event.target.classList.contains("t")) show(event.target);
      });
      text.element.addEventListener("pointerleave", hideTip);
      text.element.addEventListener("focusin", event => show(event.target));
      text.element.addEventListener("focusout", hideTip);
      text.element.addEventListener("keydown", event => {
        const t = text.tokens.indexOf(event.target);
        const to = { ArrowRight: t + 1, ArrowDown: t + 40, ArrowLeft: t - 1, ArrowUp: t - 40, Home: 0,
          End: text.tokens.length - 1 }[event.key];
        if (to !== undefined) move(event, to);
      });
    }
  }

  addEventListener("beforeprint", () => { for (const details of all("details")) details.open = true; });
})();
