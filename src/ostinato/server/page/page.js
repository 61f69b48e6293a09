// The status page: what runs, what waits and why, what has ended, who works. It reads /api and is told by its live events
// when to look again. All text goes in as text nodes, so nothing that a run says can become markup.
"use strict";

const KEY = "ostinato-token";
const LIVE = ["running", "waiting", "retrying"];
const QUEUED = ["queued", "scheduled"];
const main = document.getElementById("main");
let shown = 0; // counts what was asked to be shown: an answer that comes late is dropped
let pending = false;
let watching = false;

class Refused extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(path, method = "GET") {
  const answer = await fetch(`/api/${path}`, { method, headers: headers() });
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Refused(answer.status, body.detail);
  return body;
}

// --- making elements

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

function table(heads, rows) {
  const head = el("tr", {}, heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)));
  const body = rows.map((cells) => el("tr", {}, cells.map((cell, i) => el("td", { class: heads[i][1] }, cell ?? ""))));
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}

function section(title, count, empty, content, kind) {
  const head = el("h2", {}, title, count === null ? null : el("span", { class: "count" }, String(count)));
  return el("section", { class: kind }, head, content ?? el("p", { class: "empty" }, empty));
}

function state(run) {
  const reason = run.reason ? el("span", { class: "reason" }, ` ${run.reason.replaceAll("_", " ")}`) : null;
  return el("span", {}, el("span", { class: `state ${run.state}` }, run.state), reason);
}

const link = (run) => el("a", { href: `#/runs/${encodeURIComponent(run.id)}`, class: "id" }, run.id);

function duration(from, to) {
  if (!from) return "";
  const seconds = Math.max(0, (to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function when(instant) {
  if (!instant) return "";
  const date = new Date(instant);
  const today = date.toDateString() === new Date().toDateString();
  const text = today ? date.toLocaleTimeString() : date.toLocaleString();
  return el("time", { datetime: instant, title: date.toLocaleString() }, text);
}

// --- the overview

async function overview() {
  const [live, queued, newest, workers, projects] = await Promise.all([
    ask(`runs?limit=50&${LIVE.map((s) => `state=${s}`).join("&")}`),
    ask(`runs?limit=20&${QUEUED.map((s) => `state=${s}`).join("&")}`),
    ask("runs?limit=30&top_level=true"),
    ask("workers"),
    ask("projects"),
  ]);
  const why = await Promise.all(queued.items.map((run) => ask(`runs/${run.id}/why`).catch(() => null)));
  const broken = projects.flatMap((project) => Object.entries(project.errors).map((error) => [project.name, ...error]));
  return [
    ...broken.map(trouble),
    section("Running", number(live), "Nothing runs now.", live.items.length ? table(
      [["Run"], ["Flow"], ["State"], ["Since", "number"], ["For", "number"]],
      live.items.map((run) => [link(run), run.flow, state(run), when(run.started_at), duration(run.started_at)]),
    ) : null),
    section("Waiting in the queue", number(queued), "Nothing waits.", queued.items.length ? table(
      [["Run"], ["Flow"], ["Work pool"], ["Waits", "number"], ["Why", "wide"]],
      queued.items.map((run, i) => [
        link(run), run.flow, run.pool ? `${run.pool} / ${run.queue}` : "", duration(run.created_at), because(why[i]),
      ]),
    ) : null),
    section("Newest runs", null, "There is no run yet. Start one: ostinato start FLOW.", newest.items.length ? table(
      [["Run"], ["Flow"], ["State"], ["Started", "number"], ["Took", "number"], ["", "wide"]],
      newest.items.map((run) => [
        link(run), run.flow, state(run), when(run.started_at || run.created_at), took(run), firstLine(run.error),
      ]),
    ) : null),
    section("Workers", workers.length, "No worker is here. Start one: ostinato worker.", workers.length ? table(
      [["Worker"], ["Serves"], ["Slots"], ["Since", "number"], ["Version", "number"]],
      workers.map((worker) => [
        `${worker.host} · ${worker.pid} (${worker.kind})`, worker.pools.join(", "), slots(worker),
        when(worker.started_at), worker.version,
      ]),
    ) : null),
  ];
}

const number = (page) => `${page.items.length}${page.next ? "+" : ""}`;
const took = (run) => (run.finished_at || LIVE.includes(run.state) ? duration(run.started_at, run.finished_at) : "");

function because(why) {
  if (!why) return "";
  const advice = why.advice.length ? el("div", { class: "dim" }, why.advice[0]) : null;
  return el("div", {}, why.because[0] ?? "", advice);
}

function firstLine(error) {
  return error ? el("span", { class: "trouble" }, `${error.type}: ${error.message.split("\n")[0]}`.slice(0, 160)) : "";
}

function slots(worker) {
  const shownSlots = Math.min(worker.slots, 16);
  const marks = Array.from({ length: shownSlots }, (_, i) => el("i", { class: i < worker.runs ? "on" : null }));
  const text = worker.slots ? `${worker.runs} of ${worker.slots}` : String(worker.runs);
  return el("span", {}, el("span", { class: "slots", "aria-hidden": "true" }, marks), text, worker.draining ? " · draining" : "");
}

function trouble([project, file, traceback]) {
  return section(`${file} cannot be imported`, `project ${project}`, "", el("pre", {}, traceback), "bad");
}

// --- one run

async function oneRun(id) {
  const path = `runs/${encodeURIComponent(id)}`;
  const [run, taskRuns, log, why] = await Promise.all([
    ask(path), ask(`${path}/task-runs?limit=200`), ask(`${path}/logs`), ask(`${path}/why`).catch(() => null),
  ]);
  const over = run.finished_at !== null;
  const stop = over ? null : el("button", { onclick: () => ask(`${path}/cancel`, "POST").then(refresh, complain) }, "Cancel");
  const again = ["failed", "crashed", "cancelled"].includes(run.state) && run.deployment
    ? el("button", { onclick: () => ask(`${path}/retry`, "POST").then(refresh, complain) }, "Retry") : null;
  const facts = [
    ["Flow", run.flow], ["Deployment", run.deployment], ["Work pool", run.pool && `${run.pool} / ${run.queue}`],
    ["Asked for", when(run.created_at)], ["Started", when(run.started_at)], ["Took", took(run)],
    ["Attempt", String(run.attempt)], ["Recoveries", run.recoveries ? String(run.recoveries) : null],
    ["By", run.created_by], ["Tags", run.tags.join(", ")], ["Parameters", value(run.parameters)],
    ["Result", run.state === "succeeded" ? value(run.result) : null],
  ].filter(([, fact]) => fact);
  const lines = log.items.map((line) => `${line.at.slice(11, 23)}  ${line.task ?? "·"}  ${line.message}`).join("\n");
  return [
    el("h1", {}, run.flow, el("span", { class: "id dim" }, run.id), state(run), stop, again),
    section("Run", null, "", el("dl", {}, facts.map(([name, fact]) => el("div", {}, el("dt", {}, name), el("dd", {}, fact))))),
    why && why.because.length && run.state !== "succeeded" ? section("Why", null, "", el("ul", { class: "because" },
      why.because.map((text) => el("li", {}, text)), why.advice.map((text) => el("li", { class: "dim" }, text)))) : null,
    run.error ? section(firstLine(run.error), null, "", el("pre", {}, run.error.traceback), "bad") : null,
    section("Task runs", number(taskRuns), "None yet.", taskRuns.items.length ? table(
      [["Task"], ["State"], ["Attempts", "number"], ["Started", "number"], ["Took", "number"], ["", "wide"]],
      taskRuns.items.map((row) => [
        row.map_index === null ? row.task : `${row.task}[${row.map_index}]`, state(row), String(row.attempts),
        when(row.started_at), took(row), row.child_run_id ? link({ id: row.child_run_id }) : failure(row.error),
      ]),
    ) : null),
    section("Log", null, "It has written nothing.", lines ? el("pre", { tabindex: "0" }, lines) : null),
  ].filter(Boolean);
}

function value(given) {
  return given === null ? null : el("code", {}, typeof given === "string" ? given : JSON.stringify(given).slice(0, 2000));
}

function failure(error) {
  if (!error) return "";
  return el("details", {}, el("summary", {}, firstLine(error)), el("pre", {}, error.traceback));
}

// --- showing, and knowing when to show again

function login(message) {
  const field = el("input", { type: "password", name: "token", placeholder: "ost_…", autocomplete: "off", "aria-label": "Token" });
  const enter = (event) => { event.preventDefault(); sessionStorage.setItem(KEY, field.value.trim()); start(); };
  main.replaceChildren(section("This server asks for a token", null, "", el("div", {},
    el("form", { onsubmit: enter }, field, el("button", {}, "Show the page")),
    el("p", { class: "empty" }, sessionStorage.getItem(KEY) ? message : "It is kept in this tab only. An admin makes one by: ostinato tokens create."))));
  field.focus();
}

function complain(error) {
  if (error.status === 401) { login(error.message); return; }
  const shape = section("This cannot be shown", null, error.message || String(error), null, "bad");
  const old = main.querySelector("section.complaint");
  shape.classList.add("complaint");
  if (old) old.replaceWith(shape); else main.prepend(shape);
}

async function refresh() {
  const turn = ++shown;
  const found = location.hash.match(/^#\/runs\/([^/]+)$/);
  try {
    const made = await (found ? oneRun(decodeURIComponent(found[1])) : overview());
    if (turn === shown) replace(made);
  } catch (error) {
    if (turn === shown) complain(error);
  }
}

// What is unfolded, focused or scrolled stays so: only what differs is put in anew.
function replace(made) {
  const old = [...main.children];
  const focused = document.activeElement?.getAttribute("href");
  if (old.length !== made.length) main.replaceChildren(...made);
  else made.forEach((part, i) => {
    if (!part.isEqualNode(old[i]) && !old[i].querySelector("details[open]")) old[i].replaceWith(part);
  });
  if (focused && !document.activeElement.getAttribute("href")) {
    [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
  }
}

function soon() {
  if (pending) return;
  pending = true;
  setTimeout(() => { pending = false; refresh(); }, 200);
}

// EventSource cannot show a token, so the stream is read by hand.
async function watch() {
  if (watching) return;
  watching = true;
  const live = document.getElementById("live");
  let last = null;
  for (;;) {
    try {
      const more = last === null ? {} : { "Last-Event-ID": last };
      const answer = await fetch("/api/events/stream", { headers: { ...headers(), ...more } });
      if (answer.status === 401) { watching = false; return; }
      if (!answer.ok) throw new Refused(answer.status, "");
      live.textContent = "live";
      live.classList.add("on");
      soon();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ;) {
        const { value: text, done } = await reader.read();
        if (done) break;
        const parts = (rest + text).split("\n\n");
        rest = parts.pop();
        const ids = parts.map((part) => part.match(/^id: (\d+)/m)).filter(Boolean);
        if (ids.length) { last = ids.at(-1)[1]; soon(); }
      }
    } catch { /* the server is away: it is asked again */ }
    live.textContent = "connecting …";
    live.classList.remove("on");
    await new Promise((done) => setTimeout(done, 1000));
  }
}

async function start() {
  try {
    const info = await ask("info");
    document.getElementById("about").textContent = `${info.version} · ${info.dialect} · ${info.you}`;
  } catch (error) { complain(error); return; }
  refresh();
  watch();
}

addEventListener("hashchange", () => { main.replaceChildren(el("p", { class: "dim" }, "Loading …")); refresh(); });
setInterval(() => { if (!document.hidden && main.querySelector(".state.running, .state.queued, .state.waiting")) soon(); }, 5000);
start();
