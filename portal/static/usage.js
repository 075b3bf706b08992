/* The live usage page: a uPlot bar chart of the same rows as the table, and a stream that says when to fetch them anew.
   Everything else on the page is plain HTML and works without this file. */
(function () {
  "use strict";

  const STREAM_RETRY_MS = 15000;   // after the server closed the stream for good (signed out, restarted)
  const REFRESH_SPACING_MS = 400;  // reads that come faster share one fetch
  const ANNOUNCE_SPACING_MS = 60000;  // a screen reader hears the headline at most once a minute
  const COLOURS = { bar: "#005ea2", estimated: "#2378c3", grid: "#e3ebf1", text: "#3b4f63", gap: "#71869a",
    other: "#14304a" };

  const state = { chart: null, figure: null, rows: [], other: null, sources: [], retry: 0, lastId: "", timer: 0, refreshedAt: 0,
    announcedAt: 0, announced: "", leak: "" };

  const $ = (id) => document.getElementById(id);

  // ---- chart ----------------------------------------------------------------------------------------------------

  function readData() {
    const element = $("usage-data");
    return element ? JSON.parse(element.textContent) : null;
  }

  function columns(data) {
    const rows = data.rows, plain = (row) => row.mark === "measured";
    return [
      rows.map((_, index) => index),
      rows.map((row) => (plain(row) ? row.volume : null)),
      rows.map((row) => (plain(row) ? null : row.volume)),
      data.other ? data.other.volumes : rows.map(() => null),
    ];
  }

  function hatch(context, colour, ground) {
    const scale = window.devicePixelRatio || 1, size = Math.round(7 * scale);
    const tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const pen = tile.getContext("2d");
    if (ground) { pen.fillStyle = ground; pen.fillRect(0, 0, size, size); }
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5 * scale;
    pen.beginPath();
    for (const shift of [-size, 0, size]) { pen.moveTo(shift, size); pen.lineTo(shift + size, 0); }
    pen.stroke();
    return context.createPattern(tile, "repeat");
  }

  function drawGaps(u) {
    const gaps = state.rows.map((row, index) => (row.mark === "none" ? index : -1)).filter((index) => index >= 0);
    if (!gaps.length) return;
    const pen = u.ctx, { top, height } = u.bbox;
    pen.save();
    pen.fillStyle = hatch(pen, "#c3d0da", null);
    for (const index of gaps) {
      const left = u.valToPos(index - 0.4, "x", true), right = u.valToPos(index + 0.4, "x", true);
      pen.fillRect(left, top, right - left, height);
    }
    pen.restore();
  }

  function labelSteps(u) {
    const count = state.rows.length, room = Math.max(1, Math.floor(u.width / 58));
    const allowed = (count > 20 && count < 27) || count === 12 ? [1, 2, 3, 4, 6, 12] : [1, 2, 5, 7, 10, 15];
    const step = allowed.find((candidate) => count / candidate <= room) || 24;
    return state.rows.map((_, index) => index).filter((index) => index % step === 0);
  }

  function note(u) {
    const box = u.root.parentNode.querySelector(".chart-note"), index = u.cursor.idx;
    const row = index === null || index === undefined ? null : state.rows[index];
    if (!row || u.cursor.left < 0) { box.style.display = "none"; return; }
    box.replaceChildren();
    const amount = document.createElement("strong");
    amount.textContent = row.text;
    box.append(amount, row.title);
    if (row.note) { box.append(document.createElement("br"), row.note); }
    if (state.other && state.other.texts[index]) {
      box.append(document.createElement("br"), state.other.name + ": " + state.other.texts[index]);
    }
    box.style.display = "block";
    const centre = u.over.offsetLeft + u.valToPos(index, "x");
    const left = Math.min(Math.max(centre - box.offsetWidth / 2, 0), u.width - box.offsetWidth);
    box.style.transform = "translate(" + Math.round(left) + "px, 0)";
  }

  function build(figure, data) {
    const font = "13px " + getComputedStyle(document.body).fontFamily;
    const bars = uPlot.paths.bars({ size: [0.74, 56], radius: 0.12 });
    const frames = uPlot.paths.bars({ size: [0.9, 68] });  // told apart by its shape: a dashed frame around the bar
    const height = () => (window.innerWidth < 768 ? 240 : 320);
    const options = {
      width: figure.clientWidth, height: height(), padding: [14, 4, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: () => [-0.6, Math.max(state.rows.length, 1) - 0.4] },
        y: { range: (u, low, high) => [Math.min(0, low || 0), high > 0 ? high * 1.08 : 1] },
      },
      axes: [
        { stroke: COLOURS.text, font, grid: { show: false }, ticks: { show: false }, size: 30,
          splits: labelSteps, values: (u, splits) => splits.map((index) => (state.rows[index] || {}).label || "") },
        { stroke: COLOURS.text, font, grid: { stroke: COLOURS.grid, width: 1 }, ticks: { show: false }, size: axisWidth,
          values: (u, splits) => splits.map((value) => data.axis.format(value)) },
      ],
      series: [
        {},
        { fill: COLOURS.bar, stroke: COLOURS.bar, width: 0, paths: bars, points: { show: false } },
        { fill: (u) => hatch(u.ctx, COLOURS.estimated, "#d6e8f5"), stroke: COLOURS.estimated, width: 1, paths: bars,
          points: { show: false } },
        { stroke: COLOURS.other, width: 2, dash: [5, 4], paths: frames, points: { show: false } },
      ],
      hooks: { drawClear: [drawGaps], setCursor: [note] },
    };
    const chart = new uPlot(options, columns(data), figure);
    new ResizeObserver(() => {
      if (figure.clientWidth && figure.clientWidth !== chart.width) {
        chart.setSize({ width: figure.clientWidth, height: height() });
      }
    }).observe(figure);
    return chart;
  }

  function axisWidth(u, values) {
    const longest = (values || []).reduce((most, text) => Math.max(most, String(text).length), 1);
    return 16 + longest * 7.5;
  }

  function sync() {
    const figure = $("usage-chart"), data = readData();
    if (data) { state.rows = data.rows; state.other = data.other; state.lastId = state.lastId || String(data.change); }
    if (!figure || !data) { state.chart = state.figure = null; return; }
    const known = data.rows.some((row) => row.volume !== null);
    if (figure.hidden === known) figure.hidden = !known;
    if ($("usage-numbers")) $("usage-numbers").hidden = !known;
    if (!known) return;
    data.axis = new Intl.NumberFormat("en-US", { maximumFractionDigits: 4 });  // decimals as everywhere on the page
    if (state.figure === figure) {
      state.chart.setData(columns(data));
    } else {
      state.figure = figure;
      state.chart = build(figure, data);
    }
    window.headwaterChart = state.chart;
  }

  // ---- stream ---------------------------------------------------------------------------------------------------

  function showLive(on) {
    const pill = $("live-pill");
    if (pill) pill.hidden = !on;
  }

  function closeStream() {
    clearTimeout(state.retry);
    state.sources.forEach((source) => source.close());
    state.sources = [];
    showLive(false);
  }

  const connected = () => state.sources.length > 0
    && state.sources.every((source) => source.readyState === EventSource.OPEN);

  // One stream for each meter that the page adds up; a page of one meter has one.
  function openStream() {
    const place = $("live-refresh");
    if (!place || document.hidden || state.sources.length || !window.EventSource) return;
    state.sources = place.dataset.streams.split(" ").filter(Boolean).map((address) => {
      const source = new EventSource(address + "?since=" + encodeURIComponent(state.lastId || "0"));
      source.onopen = () => showLive(connected());
      source.addEventListener("usage", (event) => { state.lastId = event.lastEventId; refreshSoon(); });
      source.onerror = () => {
        showLive(false);
        if (source.readyState === EventSource.CLOSED) {
          closeStream();
          state.retry = setTimeout(openStream, STREAM_RETRY_MS);
        }
      };
      return source;
    });
  }

  function refreshSoon() {
    if (state.timer) return;
    const wait = Math.max(0, state.refreshedAt + REFRESH_SPACING_MS - Date.now());
    state.timer = setTimeout(() => {
      state.timer = 0;
      state.refreshedAt = Date.now();
      const place = $("live-refresh");
      if (place) place.dispatchEvent(new CustomEvent("headwater:changed"));
    }, wait);
  }

  function announce() {
    const headline = $("today-volume"), leak = $("leak-banner");
    const leakText = leak ? leak.querySelector("h2").textContent.trim() : "";
    if (leakText && leakText !== state.leak && $("say-now")) $("say-now").textContent = leakText;
    state.leak = leakText;
    const text = headline ? headline.dataset.announce : "";
    if (text && text !== state.announced && Date.now() - state.announcedAt > ANNOUNCE_SPACING_MS) {
      if (state.announced && $("say")) $("say").textContent = text;
      state.announced = text;
      state.announcedAt = Date.now();
    }
  }

  function start() {
    document.documentElement.classList.add("js");
    const leak = $("leak-banner");
    state.leak = leak ? leak.querySelector("h2").textContent.trim() : "";
    sync();
    announce();
    state.streams = $("live-refresh") ? $("live-refresh").dataset.streams : "";
    openStream();
    document.addEventListener("visibilitychange", () => (document.hidden ? closeStream() : openStream()));
    window.addEventListener("pagehide", closeStream);
    window.addEventListener("pageshow", (event) => { if (event.persisted) openStream(); });
    // What was asked for before another period, meter or comparison was chosen must not overwrite that one's numbers.
    document.body.addEventListener("htmx:beforeSwap", (event) => {
      const place = $("live-refresh");
      if (place && event.detail.elt !== place) htmx.trigger(place, "htmx:abort");
    });
    document.body.addEventListener("htmx:afterRequest", () => { sync(); announce(); });
    document.body.addEventListener("htmx:afterSettle", () => {
      sync();
      announce();
      const place = $("live-refresh"), streams = place ? place.dataset.streams : "";
      if (streams !== state.streams) { state.streams = streams; closeStream(); openStream(); }  // another meter
      showLive(connected());
    });
    document.body.addEventListener("htmx:historyRestore", () => { state.figure = null; sync(); });
  }

  start();
})();
