"use strict";
// Draws what /api/part/... gives, or what stands in the page (a report). Words from the run go into text nodes only.
(() => {
  const $ = (id) => document.getElementById(id);
  const embedded = JSON.parse($("data").textContent);
  const live = embedded === null;
  const parts = {};
  let overview = null, scope = "whole", runOver = !live;

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const show = (value, digits = 3) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size >= 1000) return value.toLocaleString("en-US");
    if (size >= 1e7 || size < 1e-3) return value.toExponential(2);
    if (size >= 10 ** digits) return Math.round(value).toLocaleString("en-US");
    return String(Number(value.toPrecision(digits)));
  };
  const percent = (share) => share === null || share === undefined ? "–" : `${show(100 * share)} %`;
  // Times on an axis, 24 h, as fine as its steps
  const timeTicks = (u, ticks, space, found, step) => ticks.map((v) => {
    const date = new Date(1000 * v);
    return step >= 86400 ? date.toLocaleDateString("en-CA") : date.toLocaleTimeString("en-GB").slice(0, step < 60 ? 8 : 5);
  });
  const varies = (values) => {
    const known = (values || []).filter((v) => v !== null);
    return known.length > 1 && Math.max(...known) - Math.min(...known) > 1e-4 * Math.abs(known[0]);
  };
  const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString("en-GB");

  // Panels: a title, a plot and, for some, tools

  function panel(id, title, { tall = false } = {}) {
    const note = make("small"), plot = make("div", { class: "plot" });
    const section = make("section", { id }, make("h2", {}, title, note), plot);
    if (tall) section.classList.add("tall");
    section.hidden = true;
    $("panels").append(section);
    return { section, plot, note, heading: section.firstChild.firstChild };
  }

  // Lines over time or radius, with uPlot

  function chart(at, lines, { time = true, xLabel = "", from0 = false, step = false, bars = false } = {}) {
    let plot = null, names = "", size = null;
    const build = (used, data) => {
      const axis = { stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
      const bar = bars ? uPlot.paths.bars({ size: [1, Infinity], align: 1, gap: 1 }) : undefined;
      const options = {
        ...size, ms: 1e-3, hooks: { setCursor: [(u) => { if (u.cursor.left < 0 && !bars) newest(u); }] }, cursor: { drag: { x: true, y: false }, y: false, points: { size: 6 } },
        scales: { x: { time }, y: { range: (u, low, high) => range(low, high, from0) } },
        axes: [
          { ...axis, label: xLabel || undefined, labelSize: 16, labelFont: "12px system-ui, sans-serif", size: xLabel ? 34 : 26, space: 64,
            values: time ? timeTicks : (u, ticks) => ticks.map((v) => show(v, 4)) },
          { ...axis, size: 56, values: (u, ticks) => ticks.map((v) => show(v, 4)) },
        ],
        series: [
          { label: time ? "time" : xLabel, value: (u, v) => v === null ? "–" : time ? clock(v) : show(v, 4) },
          ...used.map((line) => ({
            label: line.label, stroke: css(line.color), width: bars ? 0 : 1.5, fill: bars ? css(line.color) : undefined, paths: bar,
            spanGaps: !bars, points: { show: (u, i) => !bars && data[0].length < 40, size: 4 }, dash: line.dash,
            value: (u, v) => v === null ? "–" : `${show(v, 4)}${line.unit ? " " + line.unit : ""}`,
          })),
        ],
      };
      at.plot.replaceChildren();
      at.plot.classList.toggle("timed", time);
      return new uPlot(options, data, at.plot);
    };
    // Where the mouse is not in the plot, the legend tells the newest numbers
    const newest = (u) => {
      let k = u.data[0].length - 1;
      while (k > 0 && u.data.slice(1).every((column) => column[k] === null)) k--;
      u.setLegend({ idx: k });
    };
    const range = (low, high, zero) => {
      if (low === null || high === null) return [0, 1];
      const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
      return [zero ? Math.min(0, low) : low - room, high + room];
    };
    const measure = () => ({ width: Math.max(200, at.plot.clientWidth), height: Math.max(120, at.plot.clientHeight - 24) });
    new ResizeObserver(() => {
      if (plot === null) return;
      const now = measure();
      if (now.width !== size.width || now.height !== size.height) { size = now; plot.setSize(size); }
    }).observe(at.plot);
    return (x, columns) => {
      const used = lines.filter((line) => columns[line.key] !== undefined && columns[line.key].some((v) => v !== null));
      at.section.hidden = used.length === 0 || x.length === 0;
      if (at.section.hidden) return;
      const data = [x, ...used.map((line) => columns[line.key])];
      const now = used.map((line) => line.key).join();
      if (plot === null || now !== names) {
        if (plot !== null) plot.destroy();
        names = now;
        size = measure();
        plot = build(used, data);
        if (!bars) newest(plot);
      } else {
        const zoomed = plot.scales.x.min > plot.data[0][0] || plot.scales.x.max < plot.data[0][plot.data[0].length - 1];
        plot.setData(data, !zoomed);
        if (!bars && !(plot.cursor.left >= 0)) newest(plot);
      }
    };
  }

  // Pictures: a grey PNG whose levels are unpacked here, with circles and rings on top

  function greys(text, then) {
    const image = new Image();
    image.onload = () => {
      const canvas = make("canvas", { width: image.width, height: image.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const rgba = context.getImageData(0, 0, image.width, image.height).data;
      const levels = new Uint8Array(image.width * image.height);
      for (let i = 0; i < levels.length; i++) levels[i] = rgba[4 * i];
      then(levels, image.width, image.height);
    };
    image.src = "data:image/png;base64," + text;
  }
  // Anchors of viridis (matplotlib, CC0), and grey
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const GREY = [[8, 8, 10], [250, 250, 250]];
  function palette(anchors, low, high) {
    const table = new Uint32Array(256);
    for (let v = 1; v < 256; v++) {
      const at = Math.min(1, Math.max(0, (v - low) / Math.max(1, high - low))) * (anchors.length - 1);
      const k = Math.min(anchors.length - 2, Math.floor(at)), f = at - k;
      const [r, g, b] = anchors[k].map((c, i) => Math.round(c + f * (anchors[k + 1][i] - c)));
      table[v] = 0xff000000 | (b << 16) | (g << 8) | r;
    }
    table[0] = 0xff2b211a; // no good pixel: #1a212b
    return table;
  }
  const valueOf = (level, scale) => scale.middle + scale.step * Math.sinh(scale.low + (level - 1) * scale.slope);

  function viewer(at, { anchors = GREY, peaks = false } = {}) {
    const canvas = make("canvas", { class: "view" }), value = make("span", { class: "value" });
    const contrast = make("input", { type: "range", min: 0, max: 100, value: 50, title: "contrast" });
    const rings = make("input", { type: "checkbox" }), circles = make("input", { type: "checkbox" });
    rings.checked = circles.checked = true;
    const tools = make("div", { class: "tools" }, make("label", {}, "contrast", contrast), make("label", {}, rings, "rings"));
    if (peaks) tools.append(make("label", {}, circles, "peaks"));
    tools.append(value);
    at.plot.append(canvas);
    at.section.append(tools);
    let picture = null, levels = null, sheet = null, marks = [1, 255, 1];
    let scale = 1, left = 0, top = 0, untouched = true;

    function fit() {
      const box = canvas.getBoundingClientRect();
      scale = Math.min(box.width / picture.width, box.height / picture.height);
      left = (box.width - scale * picture.width) / 2;
      top = (box.height - scale * picture.height) / 2;
    }
    function colour() {
      // The middle of the slider shows the noise of the background in the lower third; its ends are flat and hard.
      const [low, high] = marks, f = contrast.value / 100;
      const white = low + (high - low) * (f < 0.5 ? 1 + (0.5 - f) * 4 : 1 - (f - 0.5) * 1.7);
      const table = palette(anchors, low, white);
      const image = new ImageData(picture.width, picture.height), pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < pixels.length; i++) pixels[i] = table[levels[i]];
      sheet = make("canvas", { width: picture.width, height: picture.height });
      sheet.getContext("2d").putImageData(image, 0, 0);
      draw();
    }
    function draw() {
      if (sheet === null) return;
      const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
      if (box.width === 0) return;
      if (canvas.width !== Math.round(box.width * ratio) || canvas.height !== Math.round(box.height * ratio)) {
        canvas.width = Math.round(box.width * ratio);
        canvas.height = Math.round(box.height * ratio);
      }
      if (untouched) fit();
      const context = canvas.getContext("2d");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, box.width, box.height);
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(sheet, left, top, scale * picture.width, scale * picture.height);
      const [cx, cy] = [left + scale * picture.centre[0], top + scale * picture.centre[1]];
      if (rings.checked) drawRings(context, box, cx, cy);
      if (peaks && circles.checked) {
        context.strokeStyle = "rgba(255,120,60,.9)";
        context.lineWidth = 1;
        const radius = Math.max(3.5, Math.min(9, 2.2 * scale));
        for (const [x, y] of picture.peaks || []) {
          context.beginPath();
          context.arc(left + scale * x, top + scale * y, radius, 0, 2 * Math.PI);
          context.stroke();
        }
      }
    }
    function drawRings(context, box, cx, cy) {
      context.strokeStyle = "rgba(110,170,255,.6)";
      context.fillStyle = "rgb(150,195,255)";
      context.font = "11px system-ui, sans-serif";
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(cx - 6, cy); context.lineTo(cx + 6, cy); context.moveTo(cx, cy - 6); context.lineTo(cx, cy + 6);
      context.stroke();
      context.setLineDash([4, 5]);
      let last = 0;
      for (const [d, radius] of picture.rings) {
        const r = scale * radius;
        if (r - last < Math.max(26, box.height / 10)) continue;
        last = r;
        context.beginPath();
        context.arc(cx, cy, r, 0, 2 * Math.PI);
        context.stroke();
        for (const angle of [-0.785, 0.785, -2.356, 2.356, -1.571, 0]) {
          const x = cx + r * Math.cos(angle), y = cy + r * Math.sin(angle);
          if (x < 24 || y < 12 || x > box.width - 40 || y > box.height - 8) continue;
          context.fillText(`${d} Å`, x + 3, y - 3);
          break;
        }
      }
      context.setLineDash([]);
    }
    function tell(event) {
      if (picture === null) return;
      const box = canvas.getBoundingClientRect();
      const x = (event.clientX - box.left - left) / scale, y = (event.clientY - box.top - top) / scale;
      if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) { value.textContent = ""; return; }
      const level = levels[Math.floor(y) * picture.width + Math.floor(x)];
      const r = Math.hypot(x - picture.centre[0], y - picture.centre[1]);
      let text = level === 0 ? "no good pixel" : `${show(valueOf(level, picture.scale), 3)} ${picture.unit}`;
      if (picture.distance) text += ` · ${show(picture.wavelength_A / (2 * Math.sin(Math.atan(r / picture.distance) / 2)), 3)} Å`;
      value.textContent = text + ` · ${show(r * picture.cell_mm, 3)} mm`;
    }
    canvas.addEventListener("mousemove", tell);
    canvas.addEventListener("wheel", (event) => {
      if (picture === null) return;
      event.preventDefault();
      const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      const by = Math.exp(-event.deltaY * 0.0015), wanted = Math.min(40, Math.max(0.2, scale * by));
      left = x - (x - left) * wanted / scale;
      top = y - (y - top) * wanted / scale;
      scale = wanted;
      untouched = false;
      draw();
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons !== 1 || picture === null) return;
      left += event.movementX;
      top += event.movementY;
      untouched = false;
      draw();
    });
    canvas.addEventListener("dblclick", () => { untouched = true; draw(); });
    contrast.addEventListener("input", () => sheet !== null && colour());
    for (const box of [rings, circles]) box.addEventListener("change", draw);
    new ResizeObserver(draw).observe(at.plot);
    return (next) => {
      at.section.hidden = !next;
      if (!next) return;
      greys(next.png, (read) => {
        picture = next;
        levels = read;
        const counts = new Uint32Array(256);
        let n = 0;
        for (const level of levels) if (level > 0) { counts[level]++; n++; }
        const rank = (share) => { let sum = 0; for (let v = 1; v < 256; v++) { sum += counts[v]; if (sum >= share * n) return v; } return 255; };
        const low = rank(0.02), noise = rank(0.97);
        marks = [low, Math.min(255, Math.max(low + 12, low + 2.6 * (noise - low)))]; // noise below mid-grey
        colour();
      });
      const when = next.at && overview && overview.axis === "time" ? `${clock(next.at)} · ` : "";
      const count = next.n_peaks === undefined ? "" : `${next.n_peaks} peaks · `;
      const name = next.title.length > 44 ? "…" + next.title.slice(-43) : next.title;
      at.note.textContent = when + count + name;
      at.note.title = next.title;
      if (next.heading) at.heading.textContent = next.heading;
    };
  }

  // Tables of counts, with axes of their own

  function canvasOf(at) {
    const canvas = make("canvas");
    at.plot.append(canvas);
    return canvas;
  }
  function sized(canvas, box) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    canvas.style.width = `${box.width}px`;
    canvas.style.height = `${box.height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, box.width, box.height);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = css("--dim");
    context.strokeStyle = css("--line");
    return context;
  }
  function niceTicks(low, high, about) {
    const span = high - low, rough = span / about, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((n) => n * power >= rough);
    const ticks = [];
    for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * span; v += step) ticks.push(Math.abs(v) < 1e-9 * step ? 0 : v);
    return ticks;
  }
  const FRAME = { left: 60, right: 8, top: 8, bottom: 34 };
  // sheet : a canvas that fills the frame; x, y : {low, high, label, text}, y from the bottom
  function framed(at, canvas, sheet, x, y, over = null) {
    const box = { width: Math.max(200, at.plot.clientWidth), height: Math.max(150, at.plot.clientHeight) };
    const context = sized(canvas, box);
    const width = box.width - FRAME.left - FRAME.right, height = box.height - FRAME.top - FRAME.bottom;
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, FRAME.left, FRAME.top, width, height);
    context.strokeRect(FRAME.left - 0.5, FRAME.top - 0.5, width + 1, height + 1);
    const toX = (v) => FRAME.left + width * (v - x.low) / (x.high - x.low), toY = (v) => FRAME.top + height * (1 - (v - y.low) / (y.high - y.low));
    context.textAlign = "center";
    for (const v of x.ticks || niceTicks(x.low, x.high, width / 70)) context.fillText((x.text || show)(v), toX(v), box.height - 18);
    context.fillText(x.label, FRAME.left + width / 2, box.height - 3);
    context.textAlign = "right";
    for (const v of y.ticks || niceTicks(y.low, y.high, height / 34)) context.fillText((y.text || show)(v), FRAME.left - 5, toY(v) + 4);
    if (over) over(context, toX, toY, FRAME.left, FRAME.left + width);
  }
  function sheetOf(rows, table) {
    const sheet = make("canvas", { width: rows[0].length, height: rows.length });
    const image = new ImageData(rows[0].length, rows.length), pixels = new Uint32Array(image.data.buffer);
    let k = 0;
    for (const row of rows) for (const level of row) pixels[k++] = table[level];
    sheet.getContext("2d").putImageData(image, 0, 0);
    return sheet;
  }
  const RINGS = [50, 20, 10, 7, 5, 4, 3, 2.5, 2, 1.8, 1.6, 1.4, 1.2, 1];
  // Resolutions along an axis of 1/d in 1/nm, no two closer than a share of it
  const resolutionTicks = (farthest) => {
    const found = [];
    for (const d of RINGS) if (10 / d <= farthest && 10 / d - (found[found.length - 1] || 0) > farthest / 9) found.push(10 / d);
    return found;
  };
  const radialAxis = (unit, farthest) => unit === "1/nm"
    ? { low: 0, high: farthest, label: "resolution, Å", ticks: resolutionTicks(farthest), text: (q) => show(10 / q, 3) }
    : { low: 0, high: farthest, label: "radius, pixels" };

  function peakogram(at) {
    const canvas = canvasOf(at);
    let last = null;
    const draw = () => {
      if (!last) return;
      const most = Math.log1p(Math.max(...last.counts.map((row) => Math.max(...row))));
      const rows = last.counts.map((row) => row.map((n) => n ? 1 + Math.round(254 * Math.log1p(n) / most) : 0)).reverse();
      const table = palette(VIRIDIS, 1, 255);
      table[0] = 0;
      const power = (v) => ["0.1", "1", "10", "100", "1,000", "10⁴", "10⁵", "10⁶", "10⁷"][v + 1];
      const y = { low: last.low_decade, high: last.high_decade, ticks: [-1, 0, 1, 2, 3, 4, 5, 6, 7].filter((v) => v >= last.low_decade && v <= last.high_decade), text: power };
      framed(at, canvas, sheetOf(rows, table), radialAxis(last.unit, last.farthest), y, (context, toX, toY, left, right) => {
        if (!last.saturation) return;
        const level = toY(Math.log10(last.saturation));
        if (level < 0) return;
        context.strokeStyle = css("--c5");
        context.setLineDash([5, 4]);
        context.beginPath();
        context.moveTo(left, level); context.lineTo(right, level);
        context.stroke();
        context.setLineDash([]);
        context.fillStyle = css("--c5");
        context.textAlign = "right";
        context.fillText("max_adu", right - 4, level - 4);
      });
    };
    new ResizeObserver(draw).observe(at.plot);
    return (next) => {
      at.section.hidden = !next;
      last = next;
      at.note.textContent = "brightest pixel of each peak, ADU";
      draw();
    };
  }

  function waterfall(at) {
    const canvas = canvasOf(at);
    let last = null, sheet = null;
    const draw = () => {
      if (!sheet || !sheet.width) return;
      const [from, to] = [last.at[0], last.at[last.at.length - 1]];
      const time = overview.axis === "time";
      const y = { low: from, high: to > from ? to : from + 1, text: time ? (v) => clock(v).slice(0, to - from < 300 ? 8 : 5) : show };
      if (time) { // ticks of whole minutes or hours
        const step = [5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400].find((s) => (to - from) / s < 6) || 172800;
        y.ticks = [];
        for (let v = Math.ceil(from / step) * step; v <= to; v += step) y.ticks.push(v);
      }
      framed(at, canvas, sheet, radialAxis(last.unit, last.radius[last.radius.length - 1]), y);
    };
    new ResizeObserver(draw).observe(at.plot);
    return (next) => {
      at.section.hidden = !next || !next.picture || next.at.length < 3;
      if (at.section.hidden) return;
      last = next;
      greys(next.picture.png, (levels, width, height) => {
        const counts = new Uint32Array(256);
        for (const level of levels) counts[level]++;
        let low = 1, high = 255, sum = 0;
        const n = levels.length - counts[0];
        while (low < 254 && counts[low] === 0) low++;
        for (let v = 255; v > low && sum < 0.002 * n; v--) { sum += counts[v]; high = v; }
        const table = palette(VIRIDIS, low, Math.max(high, low + 8)), rows = [];
        for (let r = 0; r < height; r++) rows.push(levels.subarray(r * width, (r + 1) * width));
        sheet = sheetOf(rows, table);
        draw();
      });
    };
  }

  function cells(at) {
    const holder = make("div", { class: "six" });
    at.plot.append(holder);
    let last = null;
    const units = { a: "Å", b: "Å", c: "Å", alpha: "°", beta: "°", gamma: "°" };
    const letters = { alpha: "α", beta: "β", gamma: "γ" };
    const draw = () => {
      if (!last) return;
      holder.replaceChildren();
      for (const [axis, histogram] of Object.entries(last)) {
        const words = make("p", {}, make("b", {}, `${letters[axis] || axis} ${show(histogram.median, 4)}`), ` ± ${show(histogram.sd, 2)} ${units[axis]}`);
        const canvas = make("canvas");
        holder.append(make("div", {}, words, canvas));
        const box = { width: Math.max(60, holder.clientWidth / 3 - 8), height: Math.max(50, at.plot.clientHeight / 2 - 28) };
        const context = sized(canvas, box), width = box.width, height = box.height - 15;
        const most = Math.max(...histogram.counts, 1), step = width / histogram.counts.length;
        context.fillStyle = css("--c1");
        histogram.counts.forEach((n, k) => context.fillRect(k * step, height * (1 - n / most), Math.max(1, step - 0.5), height * n / most));
        const place = (v) => width * (v - histogram.low) / (histogram.high - histogram.low);
        if (histogram.expected !== null && place(histogram.expected) >= 0 && place(histogram.expected) <= width) {
          context.strokeStyle = css("--c2");
          context.beginPath();
          context.moveTo(place(histogram.expected), 0); context.lineTo(place(histogram.expected), height);
          context.stroke();
        }
        context.fillStyle = css("--dim");
        context.font = "11px system-ui, sans-serif";
        context.fillText(show(histogram.low, 4), 0, height + 12);
        context.textAlign = "right";
        context.fillText(show(histogram.high, 4), width, height + 12);
      }
    };
    new ResizeObserver(draw).observe(at.plot);
    return (next, n) => {
      at.section.hidden = !next;
      last = next;
      at.note.textContent = n >= 5000 ? "the last 5,000 crystals" : `${show(n)} crystals`;
      if (next && next.a.expected !== null) at.note.textContent += ", line: the cell given";
      draw();
    };
  }

  // The panels, in the order in which a scientist looks for them

  const rates = panel("rates", "Hit rate, indexing rate");
  const hitPanel = panel("hit", "Newest hit", { tall: true });
  const powderPanel = panel("powder", "Powder", { tall: true });
  const countPanel = panel("peaks-a-frame", "Peaks a frame");
  const resolutionPanel = panel("resolution", "Resolution of the hits");
  const peakogramPanel = panel("peakogram", "Intensity against resolution");
  const cellPanel = panel("cell", "Unit cell");
  const driftPanel = panel("drift", "Cell in time");
  const profilePanel = panel("profile", "Radial profile, without peaks");
  const waterfallPanel = panel("waterfall", "Radial profile in time");
  const backgroundPanel = panel("background", "Background");
  const saturatedPanel = panel("saturated", "Hits with saturated peaks");
  const centrePanel = panel("centre", "Beam centre, as crystals refine it");
  const energyPanel = panel("energy", "Photon energy");
  const throughputPanel = panel("throughput", "Throughput");
  const numberPanels = [
    ["latency", "Latency", /_ms$/, "ms"], ["queues", "Queues", /queue|waiting|_out$/, ""],
    ["losses", "Lost and left out", /lost|dropped|refused|given_up|restarts/, ""], ["gain", "Gain", /^gain$/, "ADU a photon"], ["bad", "Bad pixels learned", /^bad_pixels$/, "pixels"],
  ].map(([id, title, match, unit]) => ({ at: panel(id, title), match, unit, draw: null, names: "" }));
  const tablePanel = panel("table", "Numbers of the run");

  const axisOptions = () => overview && overview.axis === "event" ? { time: false, xLabel: "event" } : { time: true };
  const drawers = {};
  function overTime() {
    const options = axisOptions();
    Object.assign(drawers, {
      rates: chart(rates, [{ key: "hit_rate", label: "hits", color: "--c1", unit: "%" }, { key: "indexing_rate", label: "indexed", color: "--c2", unit: "%" }, { key: "several", label: "several lattices", color: "--c4", unit: "%" }], { ...options, from0: true }),
      resolution: chart(resolutionPanel, [{ key: "resolution_best", label: "best tenth", color: "--c3" }, { key: "resolution_median", label: "median", color: "--c1" }, { key: "resolution_worst", label: "worst tenth", color: "--c5" }], options),
      drift: chart(driftPanel, [{ key: "a", label: "a", color: "--c1" }, { key: "b", label: "b", color: "--c2" }, { key: "c", label: "c", color: "--c3" }], options),
      background: chart(backgroundPanel, [{ key: "background_hits", label: "hits", color: "--c1" }, { key: "background_misses", label: "misses", color: "--c2" }], { ...options, from0: true }),
      saturated: chart(saturatedPanel, [{ key: "saturated", label: "hits", color: "--c5" }], { ...options, from0: true }),
      centre: chart(centrePanel, [{ key: "shift_x", label: "x", color: "--c1" }, { key: "shift_y", label: "y", color: "--c2" }], options),
      energy: chart(energyPanel, [{ key: "energy", label: "energy", color: "--c1" }], options),
      throughput: chart(throughputPanel, [{ key: "events_per_s", label: "events", color: "--c1", unit: "" }], { ...options, from0: true }),
    });
  }
  const drawHit = viewer(hitPanel, { peaks: true }), drawPowder = viewer(powderPanel, { anchors: GREY });
  const drawCounts = chart(countPanel, [{ key: "misses", label: "misses", color: "--dim" }, { key: "hits", label: "hits", color: "--c1" }], { time: false, xLabel: "peaks", bars: true, from0: true });
  const drawPeakogram = peakogram(peakogramPanel), drawCells = cells(cellPanel), drawWaterfall = waterfall(waterfallPanel);
  const profileLines = [{ key: "misses", label: `${live ? "newest" : "one"} miss`, color: "--c2" }, { key: "hits", label: `${live ? "newest" : "one"} hit`, color: "--c1" }, { key: "mean", label: "mean", color: "--dim" }];
  let drawProfile = null;
  let powderKind = "powder_hits";
  const powderSwitch = make("span", { class: "switch" });
  for (const [kind, word] of [["powder_hits", "hits"], ["powder_misses", "misses"], ["powder_peaks", "peaks"]]) {
    const button = make("button", { "data-kind": kind }, word);
    button.addEventListener("click", () => { powderKind = kind; pressed(); if (parts[kind]) drawPowder(parts[kind]); if (live) refresh(); });
    powderSwitch.append(button);
  }
  const pressed = () => { for (const button of powderSwitch.children) button.classList.toggle("on", button.dataset.kind === powderKind); };
  pressed();
  powderPanel.section.querySelector(".tools").prepend(powderSwitch);

  const draw = {
    series(series) {
      if (!drawers.rates) overTime();
      const x = series.at;
      drawers.rates(x, series);
      drawers.resolution(x, series);
      const changes = {};
      for (const axis of ["a", "b", "c"]) {
        if (series[axis] === undefined || !overview || !overview.cell) continue;
        const middle = overview.cell[axis];
        changes[axis] = series[axis].map((v) => v === null ? null : 100 * (v / middle - 1));
      }
      drawers.drift(x, changes);
      driftPanel.note.textContent = "change against the median, %";
      drawers.background(x, series);
      backgroundPanel.note.textContent = "ADU a pixel; misses: whole frame, hits: at their peaks";
      drawers.saturated(x, series);
      saturatedPanel.note.textContent = "% of hits";
      drawers.centre(varies(series.shift_x) || varies(series.shift_y) ? x : [], series);
      centrePanel.note.textContent = "mean of det_shift, µm";
      drawers.energy(varies(series.energy) ? x : [], series);
      energyPanel.note.textContent = "eV";
      drawers.throughput(x, series);
      throughputPanel.note.textContent = "events a second";
      resolutionPanel.note.textContent = "Å that 9 in 10 of a hit's peaks reach";
      ownNumbers(series.numbers);
    },
    histograms(histograms) {
      const counts = histograms.peaks_a_frame;
      countPanel.section.hidden = !counts;
      if (counts) {
        const x = counts.counts.map((_, k) => k * counts.step), isHit = (k) => x[k] + counts.step > counts.min_peaks;
        // The misses would hide the hits: the axis ends a little above the highest bar of the hits.
        const most = Math.max(1, ...counts.counts.filter((_, k) => isHit(k)));
        drawCounts(x, {
          misses: counts.counts.map((n, k) => isHit(k) ? null : Math.min(n, 1.25 * most)), hits: counts.counts.map((n, k) => isHit(k) ? n : null),
        });
        const cut = counts.counts.some((n, k) => !isHit(k) && n > 1.25 * most);
        countPanel.note.textContent = `hit: ${counts.min_peaks} peaks or more` + (cut ? "; bars of misses are cut off" : "");
      }
      drawPeakogram(histograms.peakogram);
      drawCells(histograms.cells, histograms.crystals);
    },
    radial(radial) {
      const inverse = radial.unit === "1/nm";
      if (drawProfile === null) drawProfile = chart(profilePanel, profileLines, { time: false, xLabel: inverse ? "1/d, 1/nm" : "radius, pixels", from0: true });
      drawProfile(radial.radius, { ...radial.newest, mean: radial.mean });
      profilePanel.note.textContent = "ADU a pixel";
      drawWaterfall(radial);
    },
    hit: drawHit,
    powder(name) { if (name === powderKind) drawPowder(parts[name]); },
  };
  function ownNumbers(numbers) {
    for (const group of numberPanels) {
      const names = Object.keys(numbers).filter((name) => group.match.test(name) && varies(numbers[name].value)).slice(0, 6);
      if (!names.length) { group.at.section.hidden = true; continue; }
      if (names.join() !== group.names) {
        group.names = names.join();
        group.draw = chart(group.at, names.map((name, k) => ({ key: name, label: name.replace(/_ms$/, "").replace(/^(latency|indexing|stream)_/, "").replace(/_/g, " "), color: `--c${k + 1}`, unit: group.unit })), { ...axisOptions(), from0: true });
      }
      group.at.note.textContent = group.unit;
      group.draw(numbers[names[0]].at, Object.fromEntries(names.map((name) => [name, numbers[name].value])));
    }
  }

  function drawOverview() {
    const o = overview, v = o.verdict;
    $("verdict").className = v.level;
    $("level").textContent = v.level;
    const [first, ...others] = v.findings;
    $("verdict-text").replaceChildren(first ? first.text : v.text, ...(first ? [make("i", {}, ` – ${first.advice}`)] : []));
    $("advice").replaceChildren(...others.slice(0, 3).map((finding) => make("p", {}, make("b", {}, finding.text), ` – ${finding.advice}`)));
    const now = [["hits", o.hit_rate_now], ["indexed", o.indexing_rate_now]].filter(([, share]) => share !== null);
    rates.note.textContent = o.running && now.length ? `last minute: ${now.map(([word, share]) => `${word} ${percent(share)}`).join(" · ")}` : "%";
    $("title").textContent = o.title || "PeakRT";
    $("title").title = o.title;
    document.title = `${v.level === "OK" ? "" : v.level + " – "}${o.title || "PeakRT"}`;
    const beam = [o.detector, o.photon_energy_eV && `${show(o.photon_energy_eV, 5)} eV`, o.camera_length_mm && `${show(o.camera_length_mm, 5)} mm`];
    if (o.axis === "time" && o.from) beam.push(`${new Date(1000 * o.from).toLocaleDateString("en-CA")} ${clock(o.from)} to ${clock(o.to)}`);
    $("beam").textContent = beam.filter(Boolean).join(" · ");
    const tiles = [["events", show(o.counts.events), ""], ["hits", percent(o.hit_rate), show(o.counts.hits)]];
    if (o.counts.chunks) tiles.push(["indexed", percent(o.indexing_rate), `${show(o.counts.indexed)} of ${show(o.counts.chunks)}`]);
    tiles.push(["peaks a hit", show(o.peaks_per_hit), ""]);
    if (o.resolution_A) tiles.push(["resolution", `${show(o.resolution_A)} Å`, "median"]);
    if (o.events_per_s !== null) tiles.push([o.running ? "rate now" : "mean rate", `${show(o.events_per_s)} /s`, ""]);
    if (o.numbers.stream_lost !== undefined) tiles.push(["frames lost", show(o.numbers.stream_lost), ""]);
    $("numbers").replaceChildren(...tiles.map(([name, value, more]) => make("div", {}, make("dt", {}, name), make("dd", {}, value, ...(more ? [make("small", {}, ` ${more}`)] : [])))));
    drawTable();
  }
  function drawTable() {
    const o = overview, rows = [];
    const add = (name, value) => { if (value !== null && value !== undefined && value !== "–") rows.push([name, value]); };
    if (o.cell) add("cell, Å and °", ["a", "b", "c", "alpha", "beta", "gamma"].map((k) => show(o.cell[k], 4)).join(" "));
    if (o.cell_expected) add("cell given", o.cell_expected.map((v) => show(v, 4)).join(" "));
    if (o.camera_length_of_cells_mm) add("camera length that the cells tell", `${show(o.camera_length_of_cells_mm[0], 5)} ± ${show(o.camera_length_of_cells_mm[1], 2)} mm`);
    if (o.beam_centre_shift_um) add("beam centre shift, x and y", `${o.beam_centre_shift_um.map((v) => show(v)).join(", ")} µm`);
    if (o.several_lattices !== null) add("indexed hits with several lattices", percent(o.several_lattices));
    if (o.saturated_hits !== null) add("hits with saturated peaks", percent(o.saturated_hits));
    if (o.counts.unusable) add("events that could not be used", show(o.counts.unusable));
    if (o.counts.unusable) add("the last of them", o.last_unusable);
    if (o.counts.unseen) add("events that the monitor was not told of", show(o.counts.unseen));
    for (const [name, value] of Object.entries(o.numbers)) add(name.replace(/_/g, " "), typeof value === "string" ? value : show(value, 4));
    tablePanel.section.hidden = rows.length === 0;
    tablePanel.plot.replaceChildren(make("table", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, String(cell)))))));
  }

  for (const button of $("scope").children) {
    button.addEventListener("click", () => {
      scope = button.dataset.scope;
      for (const other of $("scope").children) other.classList.toggle("on", other === button);
      if (parts[`series-${scope}`]) draw.series(parts[`series-${scope}`]);
      if (live) refresh();
    });
  }

  function drawPart(name) {
    const part = parts[name];
    if (name.startsWith("series-")) { if (name === `series-${scope}` && part) draw.series(part); }
    else if (name === "hit") draw.hit(part);
    else if (name.startsWith("powder_")) draw.powder(name);
    else if (part) draw[name](part);
  }

  if (!live) {
    overview = embedded.overview;
    Object.assign(parts, embedded);
    $("save").hidden = true;
    $("connection").textContent = "report";
    if (overview.axis === "event") $("scope").hidden = true;
    drawOverview();
    if (!parts.powder_hits) powderKind = parts.powder_peaks ? "powder_peaks" : "powder_misses";
    for (const button of powderSwitch.children) button.hidden = !parts[button.dataset.kind];
    pressed();
    for (const name of Object.keys(parts)) if (name !== "overview") drawPart(name);
    return;
  }

  // Live: the server says when something is new; what is on the screen is fetched, one part after another

  const query = location.search, versions = {}, fetchedAt = {};
  const AGE = 2000; // ms between two states of a part that changes all the time
  let fetching = false;
  async function refresh() {
    if (fetching || document.hidden || overview === null) return;
    fetching = true;
    try {
      const wanted = [`series-${scope}`, "hit", powderKind, "histograms", "radial"];
      for (const name of wanted) {
        const version = overview.pictures[name];
        if (version !== undefined ? version === versions[name] || version === 0 : !runOver && Date.now() - (fetchedAt[name] || 0) < AGE) continue;
        const answer = await fetch(`api/part/${name}${query}`);
        if (!answer.ok) continue;
        parts[name] = await answer.json();
        versions[name] = version;
        fetchedAt[name] = Date.now();
        drawPart(name);
      }
    } catch (error) {
      // The server has gone: the event source says so.
    } finally {
      fetching = false;
    }
  }
  $("save").href = `report.html${query}`;
  document.addEventListener("visibilitychange", refresh);
  const source = new EventSource(`events${query}`);
  source.onmessage = (message) => {
    overview = JSON.parse(message.data);
    if (runOver && overview.running) for (const name of Object.keys(versions)) delete versions[name]; // another run at this address
    runOver = !overview.running;
    $("connection").textContent = runOver ? "the run is over" : `live · ${clock(Date.now() / 1000)}`;
    drawOverview();
    refresh();
  };
  source.onerror = () => {
    $("connection").textContent = runOver ? "the run is over; this is its last state" : `no connection since ${clock(Date.now() / 1000)}: this is the last state`;
  };
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => location.reload());
})();
