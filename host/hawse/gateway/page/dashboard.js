// The venue as it is, and a place to trade: everything on the page comes from the gateway that served it.

import { address, hex, separator, signed, unhex } from "./sign.js";

const $ = (id) => document.getElementById(id);
const show = (value) => Number(value).toLocaleString("en-US");
const short = (value) => Number(value).toLocaleString("en-US", { notation: "compact", maximumFractionDigits: 2 });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

const venue = { about: null, instrument: 0, books: [new Map(), new Map()], at: -2, trades: [], status: null, latency: [] };
const trader = { key: null, token: null, account: 0, generation: 0, nonce: 0, offset: 0 };
let socket = null;

async function ask(method, path, body) {
  const headers = trader.token ? { Authorization: `Bearer ${trader.token}` } : {};
  const reply = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const told = await reply.json();
  if (!reply.ok) throw new Error(`${told.error.code}: ${told.error.message}`);
  return told;
}

// Tables are made of cells, never of text that somebody else wrote.
function fill(table, rows) {
  $(table).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) row.append(cell instanceof Node ? cell : td(cell));
    return row;
  }));
}

function td(text, kind = "") {
  const cell = document.createElement("td");
  cell.textContent = text;
  cell.className = kind;
  cell.title = text;
  return cell;
}

function list(id, pairs) {
  $(id).replaceChildren(...pairs.flatMap(([name, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [name, value];
    return [dt, dd];
  }));
}

// Charts

function canvas(id) {
  const one = $(id), ratio = devicePixelRatio || 1, { width, height } = one.getBoundingClientRect();
  [one.width, one.height] = [width * ratio, height * ratio];
  const draw = one.getContext("2d");
  draw.scale(ratio, ratio);
  draw.font = "11px system-ui";
  return { draw, width, height, right: width - 58, bottom: height - 16 };
}

function scale({ draw, right, bottom }, low, high, format = show) {
  const y = (value) => 6 + (bottom - 6) * (1 - (value - low) / (high - low || 1));
  for (let n = 0; n <= 4; n++) {
    const value = low + ((high - low) * n) / 4;
    draw.fillStyle = colour("line");
    draw.fillRect(0, y(value), right, 1);
    draw.fillStyle = colour("dim");
    draw.fillText(format(Math.round(value)), right + 4, y(value) + 4);
  }
  return y;
}

function drawPrices() {
  const area = canvas("prices"), { draw, right, bottom, height } = area, trades = venue.trades.filter((t) => t.time);
  if (!trades.length) return draw.fillText("no trades yet", 8, 20);
  draw.fillStyle = colour("dim");
  const first = trades[0].time, span = Math.max(trades.at(-1).time - first, 1000), count = Math.max(20, Math.floor(right / 8));
  const candles = new Map();
  for (const { time, price } of trades) {
    const place = Math.min(count - 1, Math.floor(((time - first) / span) * count)), c = candles.get(place);
    if (!c) candles.set(place, { open: price, high: price, low: price, close: price });
    else Object.assign(c, { high: Math.max(c.high, price), low: Math.min(c.low, price), close: price });
  }
  const all = [...candles.values()], low = Math.min(...all.map((c) => c.low)), high = Math.max(...all.map((c) => c.high));
  const y = scale(area, low - 1, high + 1), wide = right / count;
  let before = all[0].open;
  for (const [place, c] of candles) {
    draw.fillStyle = colour(c.close >= before ? "buy" : "sell");
    before = c.close;
    draw.fillRect(place * wide + wide / 2 - 0.5, y(c.high), 1, y(c.low) - y(c.high) + 1);
    draw.fillRect(place * wide + 1, y(Math.max(c.open, c.close)), Math.max(1, wide - 2), Math.abs(y(c.open) - y(c.close)) + 1);
  }
  draw.fillStyle = colour("dim");
  const clock = (time) => new Date(time).toLocaleTimeString();
  draw.fillText(clock(first), 2, height - 3);
  draw.fillText(clock(first + span), right - 60, height - 3);
}

const sides = () => [
  [...venue.books[0]].sort((a, b) => b[0] - a[0]),
  [...venue.books[1]].sort((a, b) => a[0] - b[0]),
];

function drawBook() {
  const [bids, asks] = sides(), shown = [...asks.slice(0, 10).reverse().map((l) => ["sell", l]), ...bids.slice(0, 10).map((l) => ["buy", l])];
  const most = Math.max(1, ...shown.map(([, [, lots]]) => lots));
  fill("book", shown.map(([side, [price, lots]]) => {
    const bar = td(show(lots));
    bar.style.backgroundImage = `linear-gradient(${colour(side)}, ${colour(side)})`;
    bar.style.backgroundSize = `${(100 * lots) / most}% 2px`;
    bar.style.backgroundPosition = "right bottom";
    return [td(show(price), side), bar];
  }));
}

function drawDepth() {
  const area = canvas("depth"), { draw, right, bottom, height } = area, [bids, asks] = sides();
  if (!bids.length && !asks.length) return draw.fillText("the book is empty", 8, 20);
  // What is far away would press what matters into one line.
  const middle = bids.length && asks.length ? (bids[0][0] + asks[0][0]) / 2 : (bids[0] || asks[0])[0];
  const near = ([price]) => Math.abs(price - middle) <= Math.max(20, Math.abs(middle) / 1000);
  const sums = [bids, asks].map((levels) => {
    let sum = 0;
    return levels.filter(near).map(([price, lots]) => [price, (sum += lots)]);
  });
  const prices = sums.flat().map(([price]) => price), low = Math.min(...prices) - 1, high = Math.max(...prices) + 1;
  const y = scale(area, 0, Math.max(...sums.flat().map(([, lots]) => lots)), short);
  const x = (price) => (right * (price - low)) / (high - low);
  sums.forEach((sum, side) => {
    if (!sum.length) return;
    draw.fillStyle = draw.strokeStyle = colour(["buy", "sell"][side]);
    draw.beginPath();
    draw.moveTo(x(sum[0][0]), bottom);
    let before = y(0);
    for (const [price, lots] of sum) {
      draw.lineTo(x(price), before);
      draw.lineTo(x(price), (before = y(lots)));
    }
    draw.lineTo(side ? right : 0, before);
    draw.lineTo(side ? right : 0, bottom);
    draw.globalAlpha = 0.25;
    draw.fill();
    draw.globalAlpha = 1;
    draw.stroke();
  });
  draw.fillStyle = colour("dim");
  draw.fillText(show(low), 2, height - 3);
  draw.fillText(show(high), right - 40, height - 3);
}

function drawLatency() {
  const area = canvas("latency"), { draw, right, height } = area, seen = venue.latency;
  if (!seen.length) return;
  const y = scale(area, 0, Math.max(1, ...seen.map((one) => one.max)));
  for (const [name, shade] of [["max", "sell"], ["p99", "mark"], ["p50", "buy"]]) {
    draw.strokeStyle = draw.fillStyle = colour(shade);
    draw.beginPath();
    seen.forEach((one, n) => draw.lineTo((right * n) / Math.max(1, seen.length - 1), y(one[name])));
    draw.stroke();
    draw.fillText(`${name} ${show(seen.at(-1)[name])}`, { max: 2, p99: 90, p50: 180 }[name], height - 3);
  }
}

function drawTrades() {
  fill("trades", venue.trades.slice(-40).reverse().map((t) => [
    td(t.time ? new Date(t.time).toLocaleTimeString() : ""), td(show(t.price), t.side), show(t.quantity), `${t.trade}`,
  ]));
  const last = venue.trades.at(-1);
  $("last").textContent = last ? show(last.price) : "";
  $("last").className = last ? last.side : "";
}

function drawStatus() {
  const s = venue.status;
  if (!s) return;
  const text = (quanta) => `${show(quanta / 1e6)} (quote)`;
  list("venue", [
    ["slot", show(s.slot)], ["time of the slot", s.slot_time ? new Date(s.slot_time).toLocaleTimeString() : "–"],
    ["batch in work", show(s.batch)], ["sealed, not anchored", show(s.unanchored)], ["accounts", show(s.accounts)],
    ["orders in the books", show(s.resting_orders)], ["commands answered", show(s.commands)],
    ["commands that wait", show(s.waiting_commands)], ["connections", show(s.connections)],
    ["insurance", text(s.insurance)], ["fees held", text(s.fees)],
  ]);
  $("alarm").hidden = !s.waits;
  $("alarm").textContent = s.waits && `No slot is carried out: ${s.waits}.`;
  $("margin").replaceChildren(...s.nearest_ppm.map((ppm) => {
    const [bar, part, label] = ["div", "i", "span"].map((name) => document.createElement(name));
    bar.className = ppm < 250000 ? "bar low" : "bar";
    part.style.width = `${Math.max(0, Math.min(100, ppm / 1e4))}%`;
    label.textContent = `${(ppm / 1e4).toFixed(1)} %`;
    bar.append(part, label);
    return bar;
  }));
  if (!s.nearest_ppm.length) $("margin").textContent = "no account has a position";
  drawLatency();
}

async function drawBatches() {
  const batches = await ask("GET", "/v1/batches?limit=12");
  fill("batches", batches.map((b) => [`#${b.batch}`, `slots ${b.slots[0]}–${b.slots[1]}`, td(b.transaction)]));
}

// One picture a frame, however much arrives.
const stale = new Set();
function redraw(...what) {
  if (!stale.size) requestAnimationFrame(() => {
    const now = [...stale];
    stale.clear();
    for (const draw of now) draw();
  });
  for (const draw of what) stale.add(draw);
}

// Streams

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/v1/stream`);
  socket.onopen = () => {
    $("state").textContent = "live";
    say({ op: "subscribe", stream: "status" });
    say({ op: "subscribe", stream: "batches" });
    readInstrument();
    if (trader.token) readAccount();
  };
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = (event) => {
    $("state").textContent = event.reason || "the gateway is away";
    setTimeout(connect, 1000);
  };
}

const say = (told) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(told));

function readInstrument() {
  const { instrument } = venue, last = venue.trades.at(-1);
  say({ op: "subscribe", stream: "book", instrument });
  say({ op: "subscribe", stream: "trades", instrument, ...(last ? { from: last.slot + 1 } : {}) });
}

function take(told) {
  if (told.op === "error") $("said").textContent = `${told.error.code}: ${told.error.message}`;
  if (told.op) return;
  if (told.stream === "book" && told.instrument === venue.instrument) takeBook(told);
  if (told.stream === "trades" && told.instrument === venue.instrument) {
    venue.trades = [...venue.trades, ...told.trades].slice(-5000);
    redraw(drawPrices, drawTrades);
  }
  if (told.stream === "status") {
    venue.status = told.status;
    venue.latency = [...venue.latency, told.status.latency].slice(-300);
    redraw(drawStatus);
  }
  if (told.stream === "batches") drawBatches();
  if (told.stream === "account") takeOutcomes(told.lines);
}

function takeBook(told) {
  if (told.snapshot) venue.books = [new Map(), new Map()];
  else if (told.previous > venue.at) return say({ op: "subscribe", stream: "book", instrument: venue.instrument });
  else if (told.sequence <= venue.at) return undefined;
  [told.bids, told.asks].forEach((levels, side) => {
    for (const [price, lots] of levels) lots ? venue.books[side].set(price, lots) : venue.books[side].delete(price);
  });
  venue.at = told.sequence;
  return redraw(drawBook, drawDepth);
}

// Trading

const now = () => Math.round(Date.now() + trader.offset);
const domain = () => separator(venue.about.chain_id, venue.about.contract);

async function open(event) {
  event.preventDefault();
  try {
    const key = unhex($("key").value, 32), owner = $("owner").value.trim() || address(key);
    trader.token = null;
    venue.about = await ask("GET", "/v1/venue");
    const known = await ask("GET", `/v1/owners/${owner}`), clock = await ask("GET", "/v1/time");
    Object.assign(trader, { key, account: known.account, generation: known.generation, offset: clock.time - Date.now() });
    const time = now(), asks = { account: known.account, generation: known.generation, time, expiry: time + 3600000 };
    const body = signed(key, domain(), "session", { ...asks, gateway: venue.about.gateway });
    delete body.gateway;
    trader.token = (await ask("POST", "/v1/sessions", body)).token;
    $("key").value = "";
    $("order").hidden = false;
    $("said").textContent = `account ${trader.account} is open`;
    readAccount();
  } catch (error) {
    $("said").textContent = error.message;
  }
}

function readAccount() {
  say({ op: "login", token: trader.token });
  say({ op: "subscribe", stream: "account" });
  drawAccount();
}

async function command(kind, fields) {
  trader.nonce = Math.max(trader.nonce + 1, now());
  const own = { account: trader.account, generation: trader.generation, nonce: trader.nonce, expiry: trader.nonce + 30000 };
  try {
    const done = await ask("POST", "/v1/commands", signed(trader.key, domain(), kind, { ...own, ...fields }));
    $("said").textContent = `${kind}: ${done.event ?? "waits for its slot"}`;
  } catch (error) {
    $("said").textContent = `${kind}: ${error.message}`;
  }
}

function order(event) {
  event.preventDefault();
  const side = event.submitter.value;
  if (side === "cancel_all") return command("cancel_all", { instrument: venue.instrument });
  const [price, quantity] = [Number($("price").value), Number($("quantity").value)];
  return command("order", {
    client_id: now(), instrument: venue.instrument, side, time_in_force: $("tif").value, price, quantity,
  });
}

async function drawAccount() {
  const a = await ask("GET", "/v1/account");
  list("account", [
    ["equity", show(a.equity)], ["margin", show(a.margin)], ["maintenance", show(a.maintenance)], ["free", show(a.free_collateral)], ["withdrawable", show(a.withdrawable)],
    ...a.positions.map((p) => [`position in ${p.instrument}`, `${show(p.size)} lots, ${show(p.unrealised)} quanta at the mark`]),
  ]);
  fill("orders", a.orders.map((o) => {
    const cell = document.createElement("td"), button = document.createElement("button");
    button.textContent = "cancel";
    button.disabled = !Number.isSafeInteger(o.client_id); // of a program whose numbers a page cannot hold
    button.onclick = () => command("cancel", { client_id: o.client_id });
    cell.append(button);
    return [td(o.side, o.side), show(o.price), `${show(o.remaining)} lots`, cell];
  }));
}

function takeOutcomes(lines) {
  const rows = lines.map((line) => [
    td(line.event), td(line.side ?? line.kind ?? "", line.side), line.price ? show(line.price) : "",
    line.quantity ? show(line.quantity) : "", line.reason ?? "",
  ]);
  const table = $("outcomes").tBodies[0], before = [...table.children];
  fill("outcomes", rows.reverse());
  table.append(...before.slice(0, 60));
  drawAccount();
}

// The beginning

async function choose() {
  venue.instrument = Number($("instrument").value);
  venue.trades = [];
  [venue.at, venue.books] = [-2, [new Map(), new Map()]];
  const { slot } = await ask("GET", "/v1/time");
  const told = await ask("GET", `/v1/instruments/${venue.instrument}/trades?from=${Math.max(0, slot - 5000)}`);
  venue.trades = told.trades;
  redraw(drawPrices, drawTrades, drawBook, drawDepth);
  readInstrument();
}

async function begin() {
  venue.about = await ask("GET", "/v1/venue");
  for (const { number, name } of venue.about.instruments) $("instrument").add(new Option(name, number));
  $("instrument").onchange = choose;
  $("open").onsubmit = open;
  $("order").onsubmit = order;
  connect();
  await choose();
  await drawBatches();
}

addEventListener("resize", () => redraw(drawPrices, drawDepth, drawLatency));
begin().catch((error) => ($("state").textContent = error.message));
export { hex };
