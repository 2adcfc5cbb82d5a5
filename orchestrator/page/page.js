// Shows what the process says of itself. Every text goes in through textContent, never as markup.

const POLL_MS = 1000;
const HEALTH_EVERY = 3; // polls
const EVENTS = 40;
// A browser opens six connections to a host; five pictures leave one for the questions.
const STREAMS_MOST = 5;
// Beyond that, stills: so long apart at least, and longer the more of them there are.
const STILL_MS = 200;
const STILL_MS_EACH = 40;
const CAUSES = ["sampling", "no_motion", "busy", "stale", "error"];

const find = (selector, within = document) => within.querySelector(selector);
const cards = new Map(); // camera_id -> card
let eventsShown = new Set();
let firstEvents = true;
let lost = false;
let closeUp = null; // camera_id
let turn = 0;
const onScreen = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.onScreen = entry.isIntersecting;
});

async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(8000) });
  if (response.status === 401) location.reload();
  if (!response.ok && response.status !== 503) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function poll() {
  for (let count = 0; ; count++) {
    if (!document.hidden) {
      try {
        showCameras((await ask("/api/cameras")).cameras);
        showEvents((await ask(`/api/events?motion=0&limit=${EVENTS}`)).events);
        if (count % HEALTH_EVERY === 0 || lost) showHealth(await ask("/health"));
        setLost(false);
      } catch (error) {
        console.warn(error);
        setLost(true);
      }
    }
    await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
}

function setLost(now) {
  if (lost && !now) cards.forEach(stopPicture); // streams of before are dead; the next poll opens them anew
  lost = now;
  find("#lost").hidden = !now;
  document.body.classList.toggle("lost", now); // what is shown is of before
  if (now) showStatus("unhealthy", "no answer");
}

// Cameras

function showCameras(cameras) {
  const live = cameras.length <= STREAMS_MOST;
  const present = new Set(cameras.map((camera) => camera.camera_id));
  for (const [name, card] of cards) {
    if (present.has(name)) continue;
    stopPicture(card);
    card.remove();
    cards.delete(name);
  }
  for (const camera of cameras) showCamera(camera, live);
  find("#cameras").classList.toggle("few", cameras.length <= 4);
  find("#summary").textContent = summary(cameras);
}

function summary(cameras) {
  if (!cameras.length) return "no camera yet";
  const inState = (state) => cameras.filter((camera) => camera.state === state).length;
  const ended = inState("ended"); // nobody misses a file that has ended; /health counts likewise
  const people = cameras.reduce((sum, camera) => sum + camera.persons, 0);
  const parts = [`${inState("online")} of ${counted(cameras.length - ended, "camera", "cameras")} online`];
  if (ended) parts.push(`${ended} ended`);
  return [...parts, `${counted(people, "person", "people")} in view`].join(", ");
}

function showCamera(camera, live) {
  const card = cards.get(camera.camera_id) ?? newCard(camera);
  card.classList.remove("online", "connecting", "offline", "ended");
  card.classList.add(camera.state);
  const set = (selector, text) => (find(selector, card).textContent = text);
  set(".badge", camera.state === "online" ? "live" : camera.state);
  set(".veil strong", `${camera.state === "connecting" ? "Connecting" : capital(camera.state)} for ${since(camera.since)}`);
  set(".veil span", camera.detail);
  set(".people", camera.persons);
  find(".fps", card).replaceChildren(...rate(camera));
  find(".p50", card).replaceChildren(...milliseconds(camera.latency_p50_s));
  find(".p95", card).replaceChildren(...milliseconds(camera.latency_p95_s));
  find(".names", card).replaceChildren(...camera.names.map((name) => element("span", name)));
  const who = camera.names.length ? `: ${camera.names.join(", ")}` : "";
  find("img", card).alt = `Camera ${camera.camera_id}${who}`;
  showLedger(card, camera.coverage);
  showPicture(card, camera, live);
}

function newCard(camera) {
  const card = find("#camera").content.firstElementChild.cloneNode(true);
  find("h2", card).textContent = camera.camera_id;
  find(".address", card).textContent = camera.address;
  find(".address", card).title = camera.address;
  find(".picture", card).addEventListener("click", () => openCloseUp(camera.camera_id));
  const picture = find("img", card);
  picture.addEventListener("load", () => stillLoaded(card));
  picture.addEventListener("error", () => setTimeout(() => stopPicture(card), 2000));
  card.cameraId = camera.camera_id;
  onScreen.observe(card);
  cards.set(camera.camera_id, card);
  const after = [...cards.keys()].sort().find((name) => name > camera.camera_id && cards.get(name).isConnected);
  find("#cameras").insertBefore(card, after ? cards.get(after) : null);
  return card;
}

function showPicture(card, camera, live) {
  card.moving = card.viewNumber !== camera.view_number; // since the last poll
  card.viewNumber = camera.view_number;
  if (camera.view_number === 0 || document.hidden || closeUp) return;
  const picture = find("img", card);
  if (live) {
    // The number makes a stream that is opened again a new address, which no browser joins to the old one.
    if (!card.live) picture.src = `${address(camera.camera_id)}/stream.mjpg?from=${camera.view_number}`;
    card.live = true;
    return;
  }
  if (card.live) stopPicture(card);
  if (!card.waiting && card.onScreen && (card.moving || !picture.hasAttribute("src"))) nextStill(card);
}

// Many cameras take turns on the few connections: one still after the other, of those that move and can be seen.
function nextStill(card) {
  card.waiting = !(card.live || closeUp || document.hidden || !card.isConnected);
  if (card.waiting) find("img", card).src = `${address(card.cameraId)}/snapshot.jpg?turn=${turn++}`;
}

function stillLoaded(card) {
  card.waiting = !card.live && card.moving && card.onScreen;
  const onScreen = [...cards.values()].filter((each) => each.onScreen).length;
  if (card.waiting) setTimeout(() => nextStill(card), Math.max(STILL_MS, STILL_MS_EACH * onScreen));
}

function stopPicture(card) {
  find("img", card).removeAttribute("src");
  card.live = card.waiting = false;
}

function showLedger(card, { decoded, inspected, skipped }) {
  const parts = [["inspected", inspected], ...CAUSES.map((cause) => [cause, skipped[cause]])];
  const share = (count) => `${((100 * count) / Math.max(decoded, 1)).toFixed(count && count < decoded / 100 ? 1 : 0)} %`;
  const bar = find(".ledger", card);
  bar.replaceChildren(
    ...parts.map(([name, count]) => {
      const piece = element("i", "", name);
      piece.style.flexGrow = count;
      return piece;
    }),
  );
  const words = parts.filter(([, count]) => count).map(([name, count]) => [name, `${name.replace("_", " ")} ${share(count)}`]);
  bar.setAttribute("aria-label", `${decoded} frames decoded: ${words.map(([, text]) => text).join(", ")}`);
  find(".legend", card).replaceChildren(
    ...words.map(([name, text]) => {
      const entry = element("span", "", name);
      entry.title = `${(name === "inspected" ? inspected : skipped[name]).toLocaleString()} of ${decoded.toLocaleString()} frames`;
      entry.append(element("i"), text);
      return entry;
    }),
  );
}

function holdPicture(card) {
  // A still in place of the stream: it looks the same and leaves its connection to the close-up.
  if (card.live) find("img", card).src = `${address(card.cameraId)}/snapshot.jpg?turn=${turn++}`;
  card.live = card.moving = false;
}

function openCloseUp(cameraId) {
  closeUp = cameraId;
  cards.forEach(holdPicture);
  find("#close-up img").src = `${address(cameraId)}/stream.mjpg`;
  find("#close-up img").alt = `Camera ${cameraId}`;
  find("#close-up").showModal();
}

find("#close-up").addEventListener("close", () => {
  find("#close-up img").removeAttribute("src");
  closeUp = null;
});
find("#close-up").addEventListener("click", (event) => {
  if (event.target === event.currentTarget) event.currentTarget.close();
});
document.addEventListener("visibilitychange", () => document.hidden && cards.forEach(stopPicture));

// Events and health

function showEvents(reported) {
  // An alert says what the event that raised it says.
  const told = new Set(reported.flatMap(({ event }) => event.associated_events ?? []));
  const events = reported.filter(({ event }) => !told.has(event.event_id));
  const names = new Set(events.map(({ event }) => event.event_id));
  if (names.size === eventsShown.size && [...names].every((name) => eventsShown.has(name))) return;
  find("#quiet").hidden = events.length > 0;
  find("#events").replaceChildren(...events.map(eventRow));
  eventsShown = names;
  firstEvents = false;
}

function eventRow({ sentence, event }) {
  const row = find("#event").content.firstElementChild.cloneNode(true);
  row.classList.add(tone(event));
  row.classList.toggle("new", !firstEvents && !eventsShown.has(event.event_id));
  find(".words", row).textContent = sentence;
  const moment = new Date(event.timestamp);
  find(".where", row).textContent = `${event.camera_id} · ${moment.toLocaleTimeString()}`;
  find(".where", row).title = moment.toLocaleString();
  return row;
}

function tone(event) {
  if (event.event_type === "face.recognized") {
    if (event.person_name === null) return "stranger";
    return event.is_authorized ? "known" : "unauthorised";
  }
  if (event.event_type === "alert.triggered") return event.alert_level.toLowerCase();
  if (event.event_type === "system.status") return event.status === "offline" ? "warning" : "up";
  return "seen";
}

function showHealth({ status, components }) {
  const { system, cameras, ...parts } = components;
  showStatus(status, status, `${cameras.online}/${cameras.total}`);
  const entries = Object.entries(parts).filter(([, part]) => part.enabled !== false);
  const rows = entries.map(([name, part]) => {
    const row = element("li", name, part.healthy ? "" : "ill");
    row.title = part.error ?? "";
    row.append(element("b", part.healthy ? latency(part) : "down"));
    return row;
  });
  const machine = { cpu: `${system.cpu_percent.toFixed(0)} %`, memory: `${system.memory_percent.toFixed(0)} %`, disk: `${system.disk_free_gb.toFixed(0)} GB free` };
  for (const [name, text] of Object.entries(machine)) {
    const row = element("li", name);
    row.append(element("b", text));
    rows.push(row);
  }
  find("#health").replaceChildren(...rows);
}

function showStatus(tone, ...words) {
  find("#status").textContent = words[0];
  find("#status").className = `pill ${tone}`;
  document.title = ["FESS", ...words].join(" · ");
}

// Words

const address = (cameraId) => `/cameras/${encodeURIComponent(cameraId)}`;
const latency = (part) => (part.latency_ms === undefined ? "ok" : `${part.latency_ms.toFixed(1)} ms`);
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;
const rate = ({ state, fps, decoded_fps }) =>
  state === "online" ? [fps.toFixed(1), small(`of ${decoded_fps.toFixed(0)} fps`)] : ["–"];
const milliseconds = (seconds) => (seconds === null ? ["–"] : [(1000 * seconds).toFixed(0), small("ms")]);

function small(text) {
  return element("small", text);
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}

function since(moment) {
  const seconds = Math.max(0, (Date.now() - new Date(moment)) / 1000);
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 129600 ? `${(seconds / 3600).toFixed(0)} h` : `${(seconds / 86400).toFixed(0)} days`;
}

poll();
