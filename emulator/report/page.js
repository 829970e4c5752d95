"use strict";
// Draws the plots of a report from the data that the page holds. All texts become text nodes, never markup.
(() => {
  const doc = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const EDGE = { left: 72, right: 16, top: 8, bottom: 42 };
  const HEIGHT = { time: 200, power: 290, xy: 330, image: 250 };
  const PRINT_WIDTH = 720, PRINT_WIDTH_OF_PAIR = 350; // pixels of a plot on paper, so that its texts stay legible
  const NOTHING = 65535, STEPS = 65534; // as in encode.py
  const DRAG_PX = 6; // less is a click
  // Viridis, by Smith and van der Walt (CC0), at even steps.
  const COLOURS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137],
    [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37]];

  const whole = { from: doc.from_s, to: doc.to_s };
  let view = { ...whole };
  let printing = false;
  const plots = [];

  // --- data ---------------------------------------------------------------------------------------------------------

  function bytes(text) {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  }

  function floats(text) {
    return new Float32Array(bytes(text).buffer);
  }

  /** Values of a curve's 16-bit steps, NaN where there is none. */
  function values(text, lo, hi) {
    const scale = (hi - lo) / STEPS;
    return Float64Array.from(new Uint16Array(bytes(text).buffer), (q) => (q === NOTHING ? NaN : lo + q * scale));
  }

  /** Lowest and highest values of a curve, decoded once. */
  function ends(curve) {
    if (!curve.decoded) {
      const low = values(curve.low, curve.lo, curve.hi);
      curve.decoded = { low, high: curve.high ? values(curve.high, curve.lo, curve.hi) : low };
    }
    return curve.decoded;
  }

  /** The finest record of a trace that covers a span of time: every row near a moment, else the envelope. */
  function record(trace, from, to) {
    const inside = (clip) => clip.start <= from && from < to && to <= clip.start + clip.step * clip.count;
    return trace.clips.find(inside) || trace.envelope;
  }

  /** Lowest and highest value of a curve in each of at most `count` parts of a span: [from, to, low, high] each. */
  function columns(trace, series, from, to, count) {
    const its = record(trace, from, to);
    const { low, high } = ends(its.curves[series.key][series.curve]);
    const first = Math.max(0, Math.floor((from - its.start) / its.step + 1e-9));
    const last = Math.min(low.length, Math.ceil((to - its.start) / its.step - 1e-9));
    const each = Math.max(1, (last - first) / count);
    const found = [];
    for (let k = 0; first + Math.floor(k * each) < last; k++) {
      const begin = first + Math.floor(k * each), end = Math.min(last, first + Math.floor((k + 1) * each));
      let least = NaN, most = NaN;
      for (let i = begin; i < end; i++) {
        if (!(low[i] >= least)) least = Number.isNaN(low[i]) ? least : low[i];
        if (!(high[i] <= most)) most = Number.isNaN(high[i]) ? most : high[i];
      }
      found.push([its.start + begin * its.step, its.start + end * its.step, least, most]);
    }
    return found;
  }

  // --- scales and numbers -------------------------------------------------------------------------------------------

  function scale(from, to, start, end, log) {
    const of = log ? Math.log10 : (x) => x;
    const [a, b] = [of(from), of(to)];
    const at = (x) => start + ((of(x) - a) / (b - a)) * (end - start);
    const back = (px) => { const v = a + ((px - start) / (end - start)) * (b - a); return log ? 10 ** v : v; };
    return { from, to, log, at, back, ticks: () => (log ? logTicks(from, to) : ticks(from, to)) };
  }

  function ticks(from, to, count = 7) {
    const rough = (to - from) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
    const found = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + step * 1e-9; i++) found.push(i * step);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return found.map((value) => [value, (Math.abs(value) < step / 2 ? 0 : value).toFixed(decimals)]);
  }

  function logTicks(from, to) {
    const decades = Math.log10(to / from), found = [];
    const steps = decades > 6 ? [1] : decades > 3.5 ? [1, 3] : decades > 1.2 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
    for (let d = Math.floor(Math.log10(from)); d <= Math.ceil(Math.log10(to)); d++) {
      for (const m of steps) {
        const value = m * 10 ** d;
        if (value >= from * 0.999 && value <= to * 1.001) found.push([value, String(Number(value.toPrecision(3)))]);
      }
    }
    return found.length > 1 ? found : ticks(from, to);
  }

  /** With so many decimals that a thousandth of `range` shows. */
  function number(value, range) {
    if (Number.isNaN(value)) return "–";
    const decimals = range > 0 ? Math.min(9, Math.max(0, Math.ceil(3 - Math.log10(range)))) : 4;
    return (Number(value.toFixed(decimals)) + 0).toFixed(decimals); // no sign at zero
  }

  function timeUnit(span) {
    return span <= 900 ? ["s", 1] : span <= 4 * 3600 ? ["min", 60] : ["h", 3600];
  }

  function seconds(value, span) {
    return `${value.toFixed(Math.min(6, Math.max(0, Math.ceil(3 - Math.log10(span)))))} s`;
  }

  // --- elements -----------------------------------------------------------------------------------------------------

  function html(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function svg(parent, name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return parent.appendChild(made);
  }

  const px = (x) => Math.round(x * 10) / 10;

  /** Closed outlines from lowest to highest values, a new one after every gap. */
  function outline(parts, x, y) {
    let path = "", top = [], bottom = [];
    const close = () => {
      if (top.length) path += `M${top.join("L")}L${bottom.reverse().join("L")}Z`;
      [top, bottom] = [[], []];
    };
    for (const [from, to, low, high] of parts) {
      if (Number.isNaN(low)) { close(); continue; }
      const [a, b, l, h] = [px(x.at(from)), px(x.at(to)), px(y.at(low)), px(y.at(high))];
      top.push(`${a} ${h}`, `${b} ${h}`);
      bottom.push(`${a} ${l}`, `${b} ${l}`);
    }
    close();
    return path;
  }

  // --- plots --------------------------------------------------------------------------------------------------------

  class Plot {
    constructor(spec, host) {
      this.spec = spec;
      this.figure = host.appendChild(html("figure"));
      const caption = this.figure.appendChild(html("figcaption"));
      caption.append(html("span", "title", spec.title));
      caption.append(this.legend());
      this.readout = this.figure.appendChild(html("output", "readout"));
      this.box = this.figure.appendChild(html("div", "plot"));
      this.svg = svg(this.box, "svg", { role: "img", "aria-label": spec.title });
      if (spec.note) this.figure.append(html("p", "note", spec.note));
      this.listen();
    }

    legend() {
      const legend = html("div", "legend");
      for (const item of this.spec.legend) {
        const key = legend.appendChild(html("span", `key ${item.look}`));
        key.append(html("span", "", item.text));
      }
      return legend;
    }

    /** Axes, grid and the area that takes the pointer; returns what curves go into. */
    frame(kind) {
      const paired = this.figure.parentElement.classList.contains("pair");
      const onPaper = paired ? PRINT_WIDTH_OF_PAIR : PRINT_WIDTH;
      this.width = printing ? onPaper : Math.max(320, this.box.clientWidth);
      this.height = printing && paired ? 0.8 * HEIGHT[kind] : HEIGHT[kind];
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
      this.right = this.width - EDGE.right;
      this.bottom = this.height - EDGE.bottom;
      const clip = `clip-${plots.indexOf(this)}`;
      svg(svg(svg(this.svg, "defs", {}), "clipPath", { id: clip }), "rect", this.inside());
      this.lines = svg(this.svg, "g", {});
      this.inner = svg(this.svg, "g", { "clip-path": `url(#${clip})` });
      return this.inner;
    }

    inside() {
      return { x: EDGE.left, y: EDGE.top, width: this.right - EDGE.left, height: this.bottom - EDGE.top };
    }

    axes(x, y, xName, yName, xTicks, withGrid = true) {
      [this.x, this.y] = [x, y];
      const gridline = (a) => withGrid && svg(this.lines, "line", { class: "gridline", ...a });
      let free = -Infinity; // right edge of the last label, so that none covers another
      for (const [value, text] of xTicks || x.ticks()) {
        const at = px(x.at(value)), half = text.length * 3.6;
        gridline({ x1: at, x2: at, y1: EDGE.top, y2: this.bottom });
        if (at - half < free) continue;
        svg(this.lines, "text", { x: at, y: this.bottom + 16, "text-anchor": "middle" }, text);
        free = at + half + 6;
      }
      let above = Infinity;
      for (const [value, text] of y.ticks()) {
        const at = px(y.at(value));
        gridline({ x1: EDGE.left, x2: this.right, y1: at, y2: at });
        if (above - at < 13) continue;
        svg(this.lines, "text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end" }, text);
        above = at;
      }
      svg(this.lines, "text", { class: "axis", x: (EDGE.left + this.right) / 2, y: this.height - 6, "text-anchor": "middle" }, xName);
      const middle = (EDGE.top + this.bottom) / 2;
      svg(this.lines, "text", { class: "axis", x: 0, y: 0, "text-anchor": "middle", transform: `translate(13 ${middle}) rotate(-90)` }, yName);
      svg(this.svg, "rect", { class: "frame", ...this.inside() });
      this.cursor = svg(this.svg, "line", { class: "cursor", y1: EDGE.top, y2: this.bottom, visibility: "hidden" });
      this.dragged = svg(this.svg, "rect", { class: "drag", y: EDGE.top, height: this.bottom - EDGE.top, visibility: "hidden" });
      svg(this.svg, "rect", { class: "hit", ...this.inside() });
    }

    listen() {
      let start = null;
      const at = (event) => {
        const box = this.svg.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * this.width;
        return Math.min(this.right, Math.max(EDGE.left, x));
      };
      this.svg.addEventListener("pointerdown", (event) => {
        if (event.button !== 0 || !this.x) return;
        start = at(event);
        this.svg.setPointerCapture(event.pointerId);
        event.preventDefault();
      });
      this.svg.addEventListener("pointermove", (event) => {
        if (!this.x) return;
        const now = at(event);
        for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, px(now));
        this.cursor.setAttribute("visibility", "visible");
        this.readout.textContent = this.read(now, ((event.clientY - this.svg.getBoundingClientRect().top) / this.svg.getBoundingClientRect().height) * this.height);
        if (start === null) return;
        this.dragged.setAttribute("x", Math.min(start, now));
        this.dragged.setAttribute("width", Math.abs(now - start));
        this.dragged.setAttribute("visibility", "visible");
      });
      this.svg.addEventListener("pointerup", (event) => {
        if (start === null) return;
        const [a, b] = [start, at(event)].sort((p, q) => p - q);
        start = null;
        this.dragged.setAttribute("visibility", "hidden");
        if (b - a >= DRAG_PX) this.zoom(this.x.back(a), this.x.back(b));
      });
      this.svg.addEventListener("pointercancel", () => { start = null; });
      this.svg.addEventListener("pointerleave", () => {
        if (this.cursor) this.cursor.setAttribute("visibility", "hidden");
        this.readout.textContent = "";
      });
      this.svg.addEventListener("dblclick", () => this.whole());
    }

    zoom(from, to) { look(from, to); }

    whole() { look(whole.from, whole.to); }

    timeAxis() {
      const span = view.to - view.from, [unit, size] = timeUnit(span);
      const x = scale(view.from, view.to, EDGE.left, this.right, false);
      const marks = ticks(view.from / size, view.to / size, Math.max(3, Math.round(this.width / 110)));
      return [x, `time (${unit})`, marks.map(([value, text]) => [value * size, text])];
    }
  }

  class TimePlot extends Plot {
    draw() {
      const inner = this.frame(this.spec.section === "power" ? "power" : "time");
      const count = this.right - EDGE.left;
      const drawn = this.spec.series.map((s) => [s, columns(doc.traces[s.trace], s, view.from, view.to, count)]);
      let low = Infinity, high = -Infinity;
      for (const [, parts] of drawn) {
        for (const part of parts) {
          if (part[2] < low) low = part[2];
          if (part[3] > high) high = part[3];
        }
      }
      if (!(low <= high)) [low, high] = [0, 1]; // no value in view
      const flat = high - low <= 1e-6 * Math.abs(high); // rounding is no swing
      const room = flat ? 0.02 * Math.abs(high) || 1 : 0.05 * (high - low);
      const y = scale(low - room, high + room, this.bottom, EDGE.top, false);
      y.ticks = () => ticks(y.from, y.to, 5);
      const [x, name, marks] = this.timeAxis();
      for (const [series, parts] of drawn) {
        svg(inner, "path", { class: `curve area ${series.look}`, d: outline(parts, x, y) });
      }
      for (const level of this.spec.levels) {
        const at = px(y.at(level)), ends = { x1: EDGE.left, x2: this.right, y1: at, y2: at };
        if (level >= y.from && level <= y.to) svg(inner, "line", { class: "allowed", ...ends });
      }
      this.axes(x, y, name, this.spec.unit, marks);
      for (const event of doc.events) {
        if (event.at < view.from || event.at > view.to) continue;
        const at = px(x.at(event.at)), shape = `M${at} ${EDGE.top + 9}L${at - 4} ${EDGE.top}L${at + 4} ${EDGE.top}Z`;
        svg(svg(this.svg, "path", { class: "event", d: shape }), "title", {}, event.text);
      }
    }

    read(at) {
      const [from, to] = [this.x.back(at - 0.5), this.x.back(at + 0.5)];
      const span = view.to - view.from, found = [];
      for (const series of this.spec.series) {
        const trace = doc.traces[series.trace], parts = columns(trace, series, from, to, 1);
        if (!parts.length) continue;
        const [, , low, high] = parts[0], range = this.y.to - this.y.from;
        const [a, b] = [number(low, range), number(high, range)];
        found.push(`${series.label} ${a === b ? a : `${a} to ${b}`}`);
      }
      const fine = doc.traces.every((trace) => record(trace, view.from, view.to).rows);
      return `${seconds(this.x.back(at), span)} · ${found.join(" · ")} ${this.spec.unit}${fine ? " · every row" : ""}`;
    }
  }

  /** Lines over something else than time, with marks, bands and limits. Zooms by itself. */
  class LinePlot extends Plot {
    constructor(spec, host) {
      super(spec, host);
      this.range = null;
      this.data = spec.lines.map((line) => ({ ...line, x: floats(line.x), y: floats(line.y) }));
    }

    zoom(from, to) { this.range = [from, to]; this.draw(); }

    whole() { this.range = null; this.draw(); }

    draw() {
      const inner = this.frame("xy"), { spec } = this;
      const [from, to] = this.range || spec.x_range;
      const x = scale(from, to, EDGE.left, this.right, spec.x_log);
      const y = scale(...spec.y_range, this.bottom, EDGE.top, spec.y_log);
      const name = (text, at, row) => {
        const late = at > this.right - 100; // then it stands to the left of its line
        const place = { x: px(at) + (late ? -4 : 4), y: EDGE.top + 14 + 14 * row, "text-anchor": late ? "end" : "start" };
        svg(inner, "text", { class: "mark-name", ...place }, text);
      };
      for (const band of spec.bands) {
        const [a, b] = [x.at(Math.max(band.from, from)), x.at(Math.min(Math.max(band.to, from), to))];
        if (!(b > a)) continue;
        svg(inner, "rect", { class: "band", x: px(a), y: EDGE.top, width: px(b - a), height: this.bottom - EDGE.top });
        if (band.allowed) svg(inner, "line", { class: "allowed", x1: px(a), x2: px(b), y1: px(y.at(band.allowed)), y2: px(y.at(band.allowed)) });
      }
      for (const line of this.data) svg(inner, "path", { class: `curve line ${line.look}`, d: this.path(line, x, y) });
      spec.marks.forEach((mark, row) => {
        if (mark.at < from || mark.at > to) return;
        svg(inner, "line", { class: "mark", x1: px(x.at(mark.at)), x2: px(x.at(mark.at)), y1: EDGE.top, y2: this.bottom });
        name(mark.text, x.at(mark.at), row % 4);
      });
      for (const limit of spec.limits) {
        const [a, b] = [px(x.at(limit.x)), px(y.at(limit.y))];
        svg(inner, "path", { class: "limit", d: `M${a} ${b}L${a - 6} ${b - 10}L${a + 6} ${b - 10}Z` });
      }
      this.axes(x, y, spec.x_name, spec.y_name);
    }

    path(line, x, y) {
      const points = [], floor = y.log ? y.from / 10 : -Infinity;
      let last = -1;
      for (let i = 0; i < line.x.length; i++) {
        if (line.x[i] < x.from && line.x[i + 1] < x.from) continue;
        if (line.x[i] > x.to && line.x[i - 1] > x.to) break;
        const at = px(x.at(line.x[i])), value = px(y.at(Math.max(line.y[i], floor)));
        // Many points to a pixel: only the extremes, so that paths stay short and no line is lost.
        if (at === last) {
          const end = points[points.length - 1];
          end[1] = Math.min(end[1], value);
          end[2] = Math.max(end[2], value);
        } else points.push([at, value, value]);
        last = at;
      }
      return points.length ? `M${points.map(([a, high, low]) => (high === low ? `${a} ${high}` : `${a} ${low}L${a} ${high}`)).join("L")}` : "";
    }

    read(at) {
      const value = this.x.back(at), found = [];
      for (const line of this.data) {
        let near = 0;
        for (let i = 1; i < line.x.length; i++) if (Math.abs(line.x[i] - value) < Math.abs(line.x[near] - value)) near = i;
        if (line.x.length) found.push(`${line.label} ${Number(line.y[near].toPrecision(4))}`);
      }
      return `${Number(value.toPrecision(4))} ${this.spec.x_unit} · ${found.join(" · ")} ${this.spec.y_unit}`;
    }
  }

  /** Amplitude over time and frequency, in shades of decibel. */
  class ImagePlot extends Plot {
    constructor(spec, host) {
      super(spec, host);
      this.canvas = html("canvas", "picture");
      this.box.prepend(this.canvas);
      this.data = bytes(spec.data);
      this.image = html("canvas");
      [this.image.width, this.image.height] = [spec.columns, spec.lines];
      const pixels = this.image.getContext("2d"), shades = pixels.createImageData(spec.columns, spec.lines);
      for (let column = 0; column < spec.columns; column++) {
        for (let line = 0; line < spec.lines; line++) {
          const at = 4 * ((spec.lines - 1 - line) * spec.columns + column);
          shades.data.set([...shade(this.data[column * spec.lines + line] / 255), 255], at);
        }
      }
      pixels.putImageData(shades, 0, 0);
    }

    /** The shades, from the darkest to the brightest. */
    legend() {
      const { spec } = this, legend = html("div", "legend"), bar = html("canvas");
      [bar.width, bar.height] = [256, 1];
      const pixels = bar.getContext("2d"), shades = pixels.createImageData(256, 1);
      for (let i = 0; i < 256; i++) shades.data.set([...shade(i / 255), 255], 4 * i);
      pixels.putImageData(shades, 0, 0);
      const item = legend.appendChild(html("span"));
      const least = spec.top * 10 ** (-spec.depth_db / 20);
      item.append(`amplitude, logarithmic: ${least.toPrecision(3)} MW or less`, bar, `${spec.top.toPrecision(3)} MW`);
      return legend;
    }

    draw() {
      this.frame("image");
      const { spec } = this;
      const [x, name, marks] = this.timeAxis();
      const y = scale(spec.from_hz, spec.to_hz, this.bottom, EDGE.top, true);
      this.place(x);
      this.axes(x, y, name, "frequency (Hz)", marks, false);
    }

    place(x) {
      const { spec, canvas } = this, box = this.inside();
      [canvas.width, canvas.height] = [Math.round(2 * box.width), Math.round(2 * box.height)];
      const part = (value, of) => `${(100 * value) / of}%`;
      canvas.style.left = part(box.x, this.width);
      canvas.style.top = part(box.y, this.height);
      canvas.style.width = part(box.width, this.width);
      canvas.style.height = part(box.height, this.height);
      const paper = canvas.getContext("2d");
      paper.imageSmoothingEnabled = false;
      const left = 2 * (x.at(spec.from_s) - EDGE.left), right = 2 * (x.at(spec.to_s) - EDGE.left);
      paper.drawImage(this.image, left, 0, right - left, canvas.height);
    }

    read(at, height) {
      const { spec } = this, time = this.x.back(at), hz = this.y.back(height);
      const column = Math.floor(((time - spec.from_s) / (spec.to_s - spec.from_s)) * spec.columns);
      const line = Math.floor((Math.log(hz / spec.from_hz) / Math.log(spec.to_hz / spec.from_hz)) * spec.lines);
      if (column < 0 || column >= spec.columns || line < 0 || line >= spec.lines) return "";
      const step = this.data[column * spec.lines + line];
      const most = spec.top * 10 ** ((step / 255 - 1) * (spec.depth_db / 20));
      return `${seconds(time, view.to - view.from)} · ${hz.toPrecision(3)} Hz · ${step ? "" : "at most "}${most.toPrecision(3)} MW`;
    }
  }

  function shade(part) {
    const at = part * (COLOURS.length - 1), i = Math.min(COLOURS.length - 2, Math.floor(at));
    return COLOURS[i].map((c, k) => Math.round(c + (at - i) * (COLOURS[i + 1][k] - c)));
  }

  // --- the time shown -----------------------------------------------------------------------------------------------

  function look(from, to) {
    const span = Math.min(whole.to - whole.from, Math.max(to - from, doc.least_span_s));
    const start = Math.min(whole.to - span, Math.max(whole.from, (from + to - span) / 2));
    view = { from: start, to: start + span };
    document.getElementById("span").textContent = `${seconds(view.from, span)} to ${seconds(view.to, span)}`;
    for (const plot of plots) if (!(plot instanceof LinePlot)) plot.draw();
  }

  const moves = {
    whole: () => look(whole.from, whole.to),
    in: () => about(0.5),
    out: () => about(2),
    back: () => shift(-0.5),
    on: () => shift(0.5),
  };

  function about(factor) {
    const middle = (view.from + view.to) / 2, half = (factor * (view.to - view.from)) / 2;
    look(middle - half, middle + half);
  }

  function shift(part) {
    const by = part * (view.to - view.from);
    look(view.from + by, view.to + by);
  }

  function toolbar() {
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => moves[button.dataset.view]());
    }
    const select = document.getElementById("moments");
    doc.moments.forEach((moment, i) => {
      const option = select.appendChild(html("option", "", moment.text));
      option.value = String(i);
    });
    select.addEventListener("change", () => {
      const moment = doc.moments[Number(select.value)];
      if (select.value && moment) look(moment.from, moment.to);
    });
    document.getElementById("view").hidden = false;
  }

  const KINDS = { time: TimePlot, xy: LinePlot, image: ImagePlot };
  for (const spec of doc.plots) {
    const host = document.querySelector(`.plots[data-section="${spec.section}"]`);
    plots.push(new KINDS[spec.kind](spec, host));
  }
  toolbar();
  const drawAll = () => {
    look(view.from, view.to);
    for (const plot of plots) if (plot instanceof LinePlot) plot.draw();
  };
  drawAll();
  let drawnWidth = document.body.clientWidth;
  window.addEventListener("resize", () => {
    if (printing || document.body.clientWidth === drawnWidth) return;
    drawnWidth = document.body.clientWidth;
    drawAll();
  });
  window.addEventListener("beforeprint", () => { printing = true; drawAll(); });
  window.addEventListener("afterprint", () => { printing = false; drawAll(); });
})();
